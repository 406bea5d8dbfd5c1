//! What a run does beside the container: the pin file, the proxy; and what it may not touch at all.

use sternway::agent::sim::Behaviour;
use sternway::agent::{Act, ActError, Inspect, LookError, Order};
use sternway::domain::names::ProjectName;
use sternway::domain::plan::StepAction;

use crate::world::{World, act, so, swapping};

const FILE: &str = ".env";
const KEY: &str = "API_IMAGE";

fn write(world: &World, value: &str, old: Option<String>) -> StepAction {
    let (file, key) = (FILE.to_owned(), KEY.to_owned());
    StepAction::WritePin { service: world.service.clone(), file, key, value: value.to_owned(), old }
}

fn restore(world: &World, old: Option<String>) -> StepAction {
    StepAction::RestorePin { service: world.service.clone(), file: FILE.to_owned(), key: KEY.to_owned(), old }
}

fn env(world: &World, text: &str) {
    std::fs::write(world.project_folder().join(FILE), text).unwrap();
}

fn text(world: &World) -> String {
    std::fs::read_to_string(world.project_folder().join(FILE)).unwrap()
}

#[tokio::test]
async fn a_pin_is_written_twice_and_put_back_to_what_stood_there_first() {
    let world = World::sim().await;
    env(&world, "A=1\nAPI_IMAGE=shop/api:2 # now\n");
    let agent = world.agent();
    let facts = agent.pin(&world.project, FILE, KEY).await.unwrap();
    assert_eq!(facts.obstacle, None);
    assert_eq!(facts.value, Some(agent.mac("shop/api:2")));
    let claim = world.claim();
    let pin = write(&world, "shop/api:1", facts.value.clone());
    act(&agent, &world.order(claim, 1, pin.clone())).await.unwrap();
    act(&agent, &world.order(claim, 2, pin.clone())).await.unwrap();
    assert_eq!(text(&world), "A=1\nAPI_IMAGE=shop/api:1 # now\n");
    assert!(so(&agent.observe(&world.order(claim, 3, pin)).await.unwrap()));
    // Another process of the agent takes it back.
    drop(agent);
    let agent = world.agent();
    let back = restore(&world, facts.value);
    act(&agent, &world.order(claim, 4, back.clone())).await.unwrap();
    act(&agent, &world.order(claim, 5, back.clone())).await.unwrap();
    assert_eq!(text(&world), "A=1\nAPI_IMAGE=shop/api:2 # now\n");
    assert!(so(&agent.observe(&world.order(claim, 6, back)).await.unwrap()));
}

#[tokio::test]
async fn a_pin_that_somebody_changed_is_neither_written_nor_put_back() {
    let world = World::sim().await;
    env(&world, "API_IMAGE=shop/api:2\n");
    let agent = world.agent();
    let old = agent.pin(&world.project, FILE, KEY).await.unwrap().value;
    env(&world, "API_IMAGE=theirs:9\n");
    let claim = world.claim();
    for (n, action) in [(1, write(&world, "shop/api:1", old.clone())), (2, restore(&world, old))] {
        let refused = act(&agent, &world.order(claim, n, action)).await;
        let Err(ActError::Refused(why)) = refused else { panic!("{refused:?}") };
        assert!(why.contains("somebody") && !why.contains("theirs"), "{why}");
    }
    assert_eq!(text(&world), "API_IMAGE=theirs:9\n");
}

#[tokio::test]
async fn only_pins_and_projects_of_the_config_are_touched() {
    let world = World::sim().await;
    env(&world, "API_IMAGE=shop/api:2\nPASSWORD=x\n");
    let old = world.image("2", Behaviour::Healthy).await;
    world.deploy(&old).await;
    let agent = world.agent();
    let claim = world.claim();
    let password = StepAction::WritePin {
        service: world.service.clone(),
        file: FILE.to_owned(),
        key: "PASSWORD".to_owned(),
        value: "y".to_owned(),
        old: None,
    };
    assert!(matches!(act(&agent, &world.order(claim, 1, password)).await, Err(ActError::Refused(_))));
    assert!(agent.pin(&world.project, FILE, "PASSWORD").await.unwrap().obstacle.is_some());
    assert!(text(&world).contains("PASSWORD=x"));

    let foreign = ProjectName::parse("foreign").unwrap();
    assert_eq!(agent.stack(&foreign).await, Err(LookError::NotAllowed(foreign.clone())));
    let swap = world.swap(&agent, &old).await;
    let order = Order { project: foreign.clone(), ..world.order(claim, 2, swapping(&swap)) };
    assert!(matches!(act(&agent, &order).await, Err(ActError::Refused(_))));
    assert!(matches!(agent.observe(&order).await, Err(ActError::Refused(_))));
}

#[tokio::test]
async fn a_proxy_is_sent_only_signals_to_reload_by() {
    let world = World::sim().await;
    let sim = world.sim.clone().unwrap();
    sim.image("nginx:1", Behaviour::Healthy);
    let proxy = sim.compose_up(world.project.as_str(), "nginx", "nginx:1", &[(18081, 80)]).unwrap();
    let agent = world.agent();
    let claim = world.claim();
    let signal = |service: &str, signal: &str| StepAction::SignalProxy {
        proxy: sternway::domain::names::ServiceName::parse(service).unwrap(),
        signal: signal.to_owned(),
    };
    act(&agent, &world.order(claim, 1, signal("nginx", "HUP"))).await.unwrap();
    assert_eq!(sim.signals(&proxy), ["HUP"]);
    let refused = act(&agent, &world.order(claim, 2, signal("nginx", "KILL"))).await;
    assert!(matches!(refused, Err(ActError::Refused(_))), "{refused:?}");
    assert_eq!(sim.signals(&proxy), ["HUP"]);
    assert!(matches!(act(&agent, &world.order(claim, 3, signal("gone", "HUP"))).await, Err(ActError::Failed(_))));
    // One that does not run holds no address, and keeps nobody from going on.
    world.engine().stop(&proxy, 1).await.unwrap();
    act(&agent, &world.order(claim, 4, signal("nginx", "HUP"))).await.unwrap();
    assert_eq!(sim.signals(&proxy), ["HUP"]);
    assert!(world.engine().inspect(&proxy).await.unwrap().is_some());
}
