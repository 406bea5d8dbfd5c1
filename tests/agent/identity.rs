//! One program is one release, whatever id it has: built again, saved and loaded, taken to another engine, hidden by a
//! switched image store (docker-facts section 3).

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::json;
use sternway::agent::engine::Engine as _;
use sternway::agent::keep::pin_reference;
use sternway::agent::sim::Behaviour;
use sternway::agent::{Act as _, ImageFound, Inspect, StoreKind, StoreSwitched};
use sternway::domain::plan::ImageChoice;
use sternway::domain::release::Handles;
use tokio::time::{Instant, interval};

use crate::own_engine::{OwnEngine, Program};
use crate::real_engine::{RealEngine, TEST_LABEL, program};
use crate::world::{Agent, World, act, effect, swapping};

/// Longest wait for something that shall come true.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is on record of an image, with a name that means nothing: only the id and what it is are left to find it by.
fn on_record(image: &ImageChoice) -> Handles {
    Handles {
        fingerprint: image.fingerprint.clone(),
        image: image.image.clone(),
        reference: "sternway-test-nobody/api:1".to_owned(),
        digests: Vec::new(),
    }
}

async fn found(agent: &Agent, image: &ImageChoice) -> Option<String> {
    match agent.find_image(&on_record(image)).await.unwrap() {
        ImageFound::Here { handles, .. } => {
            assert_eq!(handles.fingerprint, image.fingerprint);
            Some(handles.image)
        }
        ImageFound::Gone => None,
        hidden @ ImageFound::OtherStore(_) => panic!("{hidden:?}"),
    }
}

/// The image goes, by name and by id.
async fn delete(world: &World, image: &ImageChoice) {
    for handle in [&image.reference, &image.image] {
        if world.engine().image(handle).await.unwrap().is_some() {
            world.remove_image(handle).await;
        }
    }
    assert_eq!(world.engine().image(&image.image).await, Ok(None), "it is gone");
}

/// Deploys it, and what the agent then puts on record.
async fn recorded(world: &World, agent: &Agent, image: &ImageChoice) -> Handles {
    world.deploy(image).await;
    world.facts(agent).await.remove(0).image
}

/// A plan from the time of the first goes to the second, which is what the first was; and is taken back.
async fn is_the_same_release(world: &World, agent: &Agent, other: &ImageChoice, first: &ImageChoice) -> ImageChoice {
    let id = found(agent, first).await.expect("found by what it is");
    let here = ImageChoice { image: id, ..first.clone() };
    world.deploy(other).await;
    let swap = world.swap(agent, first).await;
    let claim = world.claim();
    assert!(effect(&act(agent, &world.order(claim, 1, swapping(&swap))).await.unwrap()));
    world.settled("back on it", &here).await;
    let facts = world.facts(agent).await.remove(0);
    assert_eq!(facts.image.fingerprint, first.fingerprint, "the release on record");
    let undo = world.undo(&swap);
    assert!(effect(&act(agent, &world.order(claim, 2, swapping(&undo))).await.unwrap()));
    world.settled("taken back", other).await;
    here
}

#[tokio::test]
async fn an_image_built_again_is_the_same_release_and_stands_in_for_the_one_that_is_gone() {
    let Some(mut world) = World::real().await else { return };
    let agent = world.agent();
    let (other, first) = (world.image("2", Behaviour::Healthy).await, world.image("1", Behaviour::Healthy).await);
    assert_eq!(recorded(&world, &agent, &first).await.fingerprint, first.fingerprint);
    world.deploy(&other).await;
    delete(&world, &first).await;
    assert_eq!(found(&agent, &first).await, None);
    world.dated("2001-01-01T00:00:00Z");
    let second = world.image("1", Behaviour::Healthy).await;
    assert_ne!(second.image, first.image, "another id");
    assert_eq!(second.fingerprint, first.fingerprint, "the same program");
    let here = is_the_same_release(&world, &agent, &other, &first).await;
    assert_eq!(here.image, second.image);
}

/// Builds the scripted program by BuildKit, with or without an attestation of how it was built.
async fn built(world: &World, buildx: &Path, context: &Path, tag: &str, attested: bool) -> ImageChoice {
    let reference = world.reference(tag);
    let done = Command::new(buildx)
        .args(["build", "--quiet", "--tag", &reference, &format!("--provenance={attested}")])
        .args(["--label", &format!("{TEST_LABEL}={}", world.real_engine().id())])
        .arg(context)
        .env("BUILDX_CONFIG", context.join("buildx"))
        .env("DOCKER_CONFIG", context.join("docker"))
        .stdin(Stdio::null())
        .output()
        .expect("buildx can be run");
    assert!(done.status.success(), "buildx: {}", String::from_utf8_lossy(&done.stderr));
    world.choice(&reference).await
}

#[tokio::test]
async fn an_image_built_again_with_attestations_is_the_same_release() {
    let Some(world) = World::real().await else { return };
    if world.engine().facts().await.unwrap().store == StoreKind::GraphDriver {
        println!("SKIPPED, NOT TESTED: a rebuild with attestations: a graph driver's image store cannot hold them");
        return;
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/setup/buildx.sh");
    let fetched = Command::new(script).stdin(Stdio::null()).output().expect("buildx.sh can be run");
    if !fetched.status.success() {
        let why = String::from_utf8_lossy(&fetched.stderr).trim().to_owned();
        assert!(std::env::var_os("CI").is_none(), "buildx cannot be had, and CI may not skip it: {why}");
        println!("SKIPPED, NOT TESTED: a rebuild with attestations: {why}");
        return;
    }
    let buildx = String::from_utf8_lossy(&fetched.stdout).trim().to_owned();
    let context = tempfile::tempdir().unwrap();
    std::fs::copy(program(), context.path().join("program")).unwrap();
    let dockerfile = "FROM scratch\nCOPY program /program\nENTRYPOINT [\"/program\"]\nCMD [\"serve\", \"0\", \"-\"]\nSTOPSIGNAL SIGKILL\n";
    std::fs::write(context.path().join("Dockerfile"), dockerfile).unwrap();
    let build = async |attested| built(&world, Path::new(&buildx), context.path(), "1", attested).await;

    let agent = world.agent();
    let (other, first) = (world.image("2", Behaviour::Healthy).await, build(false).await);
    assert_eq!(recorded(&world, &agent, &first).await.fingerprint, first.fingerprint);
    world.deploy(&other).await;
    let second = build(true).await;
    assert_ne!(second.image, first.image, "an index with an attestation has another id");
    assert_eq!(second.fingerprint, first.fingerprint, "the same program");
    // Engine 26 let go of the first when its name went to the second, 28 keeps it without a name.
    if world.engine().image(&first.image).await.unwrap().is_some() {
        world.remove_image(&first.image).await;
    }
    let here = is_the_same_release(&world, &agent, &other, &first).await;
    assert_eq!(here.image, second.image, "what was built again stands in for what is gone");
    // And kept like any other: the index by a tag of ours and a container made from it.
    agent.keep(&world.project, &world.service, &on_record(&first)).await.unwrap();
    let kept = pin_reference(&world.project, &world.service, &on_record(&first));
    assert_eq!(world.choice(&kept).await.image, second.image);
    // A deploy of what was built again is a deploy of the release on record.
    assert_eq!(recorded(&world, &agent, &second).await.fingerprint, first.fingerprint);
}

#[tokio::test]
async fn an_image_saved_deleted_and_loaded_is_the_same_release() {
    let Some(world) = World::real().await else { return };
    let agent = world.agent();
    let (other, first) = (world.image("2", Behaviour::Healthy).await, world.image("1", Behaviour::Healthy).await);
    recorded(&world, &agent, &first).await;
    world.deploy(&other).await;
    let tar = world.real_engine().save_tar(&first.reference).await;
    delete(&world, &first).await;
    assert_eq!(found(&agent, &first).await, None);
    world.real_engine().load_tar(tar).await;
    is_the_same_release(&world, &agent, &other, &first).await;
}

#[tokio::test]
async fn an_image_taken_through_an_engine_with_the_other_store_is_the_same_release() {
    if !OwnEngine::possible("save and load across engines") {
        return;
    }
    let Some(world) = World::real().await else { return };
    let (agent, store) = (world.agent(), world.engine().facts().await.unwrap().store);
    let (other, first) = (world.image("2", Behaviour::Healthy).await, world.image("1", Behaviour::Healthy).await);
    recorded(&world, &agent, &first).await;
    for (program, its_store) in [(Program::Given, other_store(store)), (Program::Machines, StoreKind::GraphDriver)] {
        let case = format!("{program:?} with {its_store:?}");
        let folder = tempfile::tempdir().unwrap();
        let there = OwnEngine::start(program, its_store, folder.path()).await;
        let real = RealEngine::at(Some(&there.host)).await.expect("it answers");
        let theirs = World::on(real).await;
        assert_eq!(theirs.engine().facts().await.unwrap().store, its_store, "{case}");

        // From here to there, where the one that is on record here is deployed and rolled back to.
        world.deploy(&other).await;
        let id = found(&agent, &first).await.expect("here");
        theirs.real_engine().load_tar(world.real_engine().save_tar(&first.reference).await).await;
        let beside = theirs.image("2", Behaviour::Healthy).await;
        let here = is_the_same_release(&theirs, &theirs.agent(), &beside, &first).await;
        assert_eq!(here.image == id, its_store == store, "{case}: the id says which store it is in");

        // And back again, where it was deleted meanwhile.
        let tar = theirs.real_engine().save_tar(&first.reference).await;
        drop(theirs);
        there.stop();
        delete(&world, &ImageChoice { image: id, ..first.clone() }).await;
        assert_eq!(found(&agent, &first).await, None, "{case}");
        world.real_engine().load_tar(tar).await;
        is_the_same_release(&world, &agent, &other, &first).await;
    }
}

#[tokio::test]
async fn a_store_switched_under_us_is_an_alarm_and_all_is_there_again_when_it_is_switched_back() {
    if !OwnEngine::possible("a switched image store") {
        return;
    }
    let Some(given) = World::real().await else { return };
    let was = given.engine().facts().await.unwrap().store;
    let (is, folder) = (other_store(was), tempfile::tempdir().unwrap());
    let start = async |store| {
        let own = OwnEngine::start(Program::Given, store, folder.path()).await;
        let real = RealEngine::at(Some(&own.host)).await.expect("it answers");
        assert_eq!(real.engine().facts().await.unwrap().store, store, "as it was started");
        (own, real)
    };
    let (own, real) = start(was).await;
    let mut world = World::on(real).await;
    let (runs, earlier) = (world.image("2", Behaviour::Healthy).await, world.image("1", Behaviour::Healthy).await);
    let agent = world.agent();
    let deployed = world.deploy(&runs).await;
    for image in [&runs, &earlier] {
        agent.keep(&world.project, &world.service, &on_record(image)).await.unwrap();
        assert_eq!(found(&agent, image).await.as_ref(), Some(&image.image));
    }
    assert_eq!(world.stack(&agent).await.switched, None);
    // What is kept outlives `docker image prune -a`: this engine is ours, so it may be tried.
    world.real_engine().prune_images().await;
    assert_eq!(found(&agent, &earlier).await.as_ref(), Some(&earlier.image), "kept");
    let tar = world.real_engine().save_tar(&pin_reference(&world.project, &world.service, &on_record(&earlier))).await;
    drop(agent);
    own.stop();

    let (own, real) = start(is).await;
    world.moves_to(real);
    let agent = world.agent();
    let alarm = StoreSwitched { was, is };
    let stack = world.stack(&agent).await;
    assert_eq!((stack.switched, stack.services.len()), (Some(alarm), 0), "nothing is seen, and that is said");
    for image in [&runs, &earlier] {
        let seen = agent.find_image(&on_record(image)).await.unwrap();
        assert_eq!(seen, ImageFound::OtherStore(alarm), "hidden, never gone");
    }
    // Brought over by hand, it is the release that is on record.
    world.real_engine().load_tar(tar).await;
    let brought = found(&agent, &earlier).await.expect("here");
    assert_ne!(brought, earlier.image, "an id of the other store");
    assert_eq!(world.stack(&agent).await.switched, Some(alarm), "the project is still hidden");
    drop(agent);
    own.stop();

    let (own, real) = start(was).await;
    world.moves_to(real);
    let agent = world.agent();
    until("the container runs again", async || {
        let stack = world.stack(&agent).await;
        assert_eq!(stack.switched, None, "switched back");
        let seen = world.engine().inspect(&deployed.id).await.unwrap().expect("the very container");
        seen["State"]["Running"] == json!(true)
    })
    .await;
    world.settled("switched back", &runs).await;
    for image in [&runs, &earlier] {
        assert_eq!(found(&agent, image).await.as_ref(), Some(&image.image), "as it was");
    }
    drop(agent);
    drop(world);
    own.stop();
}

fn other_store(store: StoreKind) -> StoreKind {
    match store {
        StoreKind::GraphDriver => StoreKind::Containerd,
        StoreKind::Containerd => StoreKind::GraphDriver,
    }
}

async fn until(what: &str, so: impl AsyncFn() -> bool) {
    let until = Instant::now() + PATIENCE;
    let mut ticks = interval(Duration::from_millis(50));
    while !so().await {
        assert!(Instant::now() < until, "not so: {what}");
        ticks.tick().await;
    }
}
