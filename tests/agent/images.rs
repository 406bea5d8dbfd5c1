//! Images between plan and act: gone, moved, kept.

use sternway::agent::sim::{Behaviour, NewImage};
use sternway::agent::{Act, ActError, ImageFound, Inspect, Observed};
use sternway::domain::names::Fingerprint;
use sternway::domain::plan::{ImageChoice, StepAction};
use sternway::domain::release::Handles;

use crate::world::{World, act, effect, so, swapping};

on_both_engines!(
    an_image_deleted_between_plan_and_act_is_refused,
    a_tag_that_moved_between_plan_and_act_changes_nothing,
    a_kept_image_has_a_tag_and_a_container_that_no_project_sees,
    an_image_with_volumes_and_compose_labels_is_kept_without_either,
    images_are_found_by_what_they_are,
);

fn handles(image: &ImageChoice) -> Handles {
    Handles {
        fingerprint: image.fingerprint.clone(),
        image: image.image.clone(),
        reference: image.reference.clone(),
        digests: Vec::new(),
    }
}

async fn an_image_deleted_between_plan_and_act_is_refused(world: &World) {
    let (old, new) = (world.image("2", Behaviour::Healthy).await, world.image("1", Behaviour::Healthy).await);
    let deployed = world.deploy(&old).await;
    let agent = world.agent();
    let swap = world.swap(&agent, &new).await;
    world.remove_image(&new.reference).await;
    let refused = act(&agent, &world.order(world.claim(), 1, swapping(&swap))).await;
    assert!(matches!(&refused, Err(ActError::Refused(why)) if why.contains("not on this host")), "{refused:?}");
    assert_eq!(world.settled("untouched", &old).await["Id"], deployed.id.as_str());
    let protect = StepAction::ProtectImage { service: world.service.clone(), image: new };
    let refused = act(&agent, &world.order(world.claim(), 1, protect)).await;
    assert!(matches!(&refused, Err(ActError::Refused(why)) if why.contains("nothing to keep")), "{refused:?}");
}

async fn a_tag_that_moved_between_plan_and_act_changes_nothing(world: &World) {
    let (old, new) = (world.image("2", Behaviour::Healthy).await, world.image("1", Behaviour::Healthy).await);
    world.deploy(&old).await;
    let agent = world.agent();
    let swap = world.swap(&agent, &new).await;
    let (repository, tag) = new.reference.rsplit_once(':').unwrap();
    world.engine().tag(&old.image, repository, tag).await.unwrap();
    assert!(effect(&act(&agent, &world.order(world.claim(), 1, swapping(&swap))).await.unwrap()));
    world.settled("the planned image, not the tag", &new).await;
}

async fn a_kept_image_has_a_tag_and_a_container_that_no_project_sees(world: &World) {
    let (old, new) = (world.image("2", Behaviour::Healthy).await, world.image("1", Behaviour::Healthy).await);
    world.deploy(&old).await;
    let agent = world.agent();
    let protect = StepAction::ProtectImage { service: world.service.clone(), image: new.clone() };
    let claim = world.claim();
    let observed = agent.observe(&world.order(claim, 1, protect.clone())).await.unwrap();
    assert!(matches!(observed, Observed::NotSo(_)), "{observed:?}");
    act(&agent, &world.order(claim, 2, protect.clone())).await.unwrap();
    agent.keep(&world.project, &world.service, &handles(&new)).await.unwrap();
    assert!(so(&agent.observe(&world.order(claim, 3, protect.clone())).await.unwrap()));
    world.settled("the project is as before", &old).await;
    let short = new.fingerprint.short();
    let tag = format!("io.sternway/pin/{}-api:{short}", world.project);
    assert_eq!(world.engine().image(&tag).await.unwrap().unwrap()["Id"], new.image.as_str());
    let label = format!("{}/api:{short}", world.project);
    let kept = world.engine().labelled("io.sternway.pin", &label).await.unwrap();
    assert_eq!(kept.len(), 1, "keeping twice keeps once");
    let container = world.engine().inspect(&kept[0]).await.unwrap().unwrap();
    assert_eq!(container["State"]["Status"], "created");
    assert_eq!(container["Config"]["Image"], tag.as_str());

    // Pruned by somebody: made again while the image is there.
    world.engine().remove(&kept[0]).await.unwrap();
    assert!(!so(&agent.observe(&world.order(claim, 4, protect)).await.unwrap()));
    agent.keep(&world.project, &world.service, &handles(&new)).await.unwrap();
    assert_eq!(world.engine().labelled("io.sternway.pin", &label).await.unwrap().len(), 1);
    let gone = Handles { fingerprint: Fingerprint::parse(&"b".repeat(64)).unwrap(), ..handles(&new) };
    assert!(matches!(agent.keep(&world.project, &world.service, &gone).await, Err(ActError::Refused(_))));
}

async fn an_image_with_volumes_and_compose_labels_is_kept_without_either(world: &World) {
    // As `docker compose build` labels its images.
    let old = world.image("2", Behaviour::Healthy).await;
    let built = world.image_built_by_compose("1", "/data").await;
    world.deploy(&old).await;
    world.agent().keep(&world.project, &world.service, &handles(&built)).await.unwrap();
    let label = format!("{}/api:{}", world.project, built.fingerprint.short());
    let kept = world.engine().labelled("io.sternway.pin", &label).await.unwrap();
    let container = world.engine().inspect(&kept[0]).await.unwrap().unwrap();
    let mounts = container["Mounts"].as_array().unwrap();
    assert!(mounts.iter().all(|m| m["Type"] != "volume"), "a volume would be left behind: {mounts:?}");
    world.settled("the pin is no container of the project", &old).await;
}

async fn images_are_found_by_what_they_are(world: &World) {
    let (old, new) = (world.image("2", Behaviour::Healthy).await, world.image("1", Behaviour::Healthy).await);
    let agent = world.agent();
    for wanted in [
        handles(&new),
        Handles { image: format!("sha256:{}", "c".repeat(64)), ..handles(&new) },
        Handles { reference: old.reference.clone(), image: old.image.clone(), ..handles(&new) },
    ] {
        let found = agent.find_image(&wanted).await.unwrap();
        let ImageFound::Here { handles: found, foreign_platform } = found else { panic!("{wanted:?} is here") };
        assert_eq!((found.image.as_str(), &found.fingerprint), (new.image.as_str(), &new.fingerprint));
        assert_eq!(foreign_platform, None);
    }
    let (repository, _) = new.reference.rsplit_once(':').unwrap();
    let local = agent.local_images(repository).await.unwrap();
    let mut tags: Vec<&str> = local.iter().map(|h| h.reference.as_str()).collect();
    tags.sort_unstable();
    assert_eq!(tags, [new.reference.as_str(), old.reference.as_str()]);
    world.remove_image(&new.reference).await;
    assert_eq!(agent.find_image(&handles(&new)).await.unwrap(), ImageFound::Gone);
}

#[tokio::test]
async fn an_image_for_another_platform_is_told_and_refused() {
    let world = World::sim().await;
    let old = world.image("2", Behaviour::Healthy).await;
    world.deploy(&old).await;
    let reference = world.reference("1");
    let foreign = NewImage { arch: "arm64".to_owned(), ..NewImage::new(&reference, Behaviour::Healthy) };
    world.sim.as_ref().unwrap().add_image(foreign);
    let new = world.choice(&reference).await;
    let agent = world.agent();
    let found = agent.find_image(&handles(&new)).await.unwrap();
    assert!(matches!(&found, ImageFound::Here { foreign_platform: Some(p), .. } if p == "linux/arm64"), "{found:?}");
    let swap = world.swap(&agent, &new).await;
    let refused = act(&agent, &world.order(world.claim(), 1, swapping(&swap))).await;
    assert!(matches!(&refused, Err(ActError::Refused(why)) if why.contains("linux/arm64")), "{refused:?}");
    world.settled("untouched", &old).await;
}

#[tokio::test]
async fn a_kept_image_survives_a_prune_of_everything_unused() {
    let world = World::sim().await;
    let (old, new) = (world.image("2", Behaviour::Healthy).await, world.image("1", Behaviour::Healthy).await);
    world.deploy(&old).await;
    let agent = world.agent();
    agent.keep(&world.project, &world.service, &handles(&new)).await.unwrap();
    world.sim.as_ref().unwrap().prune_images();
    let swap = world.swap(&agent, &new).await;
    assert!(effect(&act(&agent, &world.order(world.claim(), 1, swapping(&swap))).await.unwrap()));
    world.settled("after the prune", &new).await;
}

#[tokio::test]
async fn a_container_whose_image_object_is_gone_is_still_known_by_the_ledger() {
    let world = World::sim().await;
    let old = world.image("2", Behaviour::Healthy).await;
    world.deploy(&old).await;
    let known = world.facts(&world.agent()).await.remove(0);
    world.remove_image(&old.reference).await;
    // Another agent process: nothing is remembered but what is in the folder.
    let again = world.facts(&world.agent()).await.remove(0);
    assert_eq!(again.image.fingerprint, known.image.fingerprint);
    assert_eq!(again.spec, known.spec);
}
