//! Two networks, checks by scripts, an entrypoint of the project's own, a service without a port, a job behind a profile:
//! dockersamples/example-voting-app.

use sternway::config::health::Health;
use sternway::config::service::Service;
use sternway::domain::ids::{Position, ReleaseId};
use sternway::domain::release::Wanted;

use crate::world::{World, composes, service};

const FILE: &str = include_str!("example-voting-app/docker-compose.images.yml");
const UP: [&str; 4] = ["-f", "docker-compose.images.yml", "up", "-d"];
const FIRST: ReleaseId = ReleaseId(Position(1));
const APPS: [&str; 3] = ["vote", "result", "worker"];

fn image(service: &str) -> String {
    format!("dockersamples/examplevotingapp_{service}:latest")
}

/// All images; those of the project's own code of this kind and version.
async fn images(world: &World, kind: &str, version: &str) {
    for app in APPS {
        world.image(&image(app), 80, kind, version).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_services_go_back_one_by_one_and_a_job_is_refused_with_what_to_do() {
    for compose in composes().await {
        let [vote, result, worker, seed] = ["vote", "result", "worker", "seed"].map(image);
        let reserved = [&vote, &result, &worker, &seed, "redis:alpine", "postgres:15-alpine"];
        let Some(mut world) = World::new(&compose, "voting", &[(UP[1], FILE)], &reserved).await else { return };
        world.program("healthchecks/redis.sh");
        world.program("healthchecks/postgres.sh");
        world.write("result/server.js", "// theirs\n");
        world.image("redis:alpine", 6379, "good", "1").await;
        world.image("postgres:15-alpine", 5432, "good", "1").await;
        world.image(&seed, 80, "job", "1").await;
        images(&world, "good", "1").await;
        world.run(&UP).await;
        let url = |n: usize| format!("http://127.0.0.1:{}/", world.ports[n]);
        let doors = [("vote", url(0)), ("result", url(1))];
        for (_, door) in &doors {
            world.answers(door, true).await;
        }
        for app in APPS {
            world.record(app, true).await;
        }
        images(&world, "bad", "2").await;
        world.run(&UP).await;
        for app in APPS {
            world.record(app, false).await;
        }
        for (_, door) in &doors {
            world.answers(door, false).await;
        }

        // `vote` is proven by its own check, `result` by its port, `worker` by nothing but that it runs.
        for app in APPS {
            let config = match app {
                "vote" => Service { health: Some(Health::Exec), ..service() },
                _ => service(),
            };
            let (was, others) = (world.container(app).await, world.others(app).await);
            let bad = world.running(app).await;
            let (done, warnings) = world.roll_back(app, &config).await;
            assert!(warnings.iter().any(|w| w.contains("no pin is configured")), "{app}: {warnings:?}");
            assert_ne!(world.running(app).await, bad, "{app}");
            world.undo(done).await.unwrap();
            assert_eq!(world.running(app).await, bad, "{app}");
            world.roll_back(app, &config).await;
            let is = world.container(app).await;
            let networks = |c: &serde_json::Value| c["NetworkSettings"]["Networks"].as_object().unwrap().len();
            assert_eq!(networks(&is), networks(&was), "{app}");
            for what in ["/Config/Entrypoint", "/HostConfig/PortBindings", "/HostConfig/Binds", "/Config/Healthcheck"] {
                assert_eq!(is.pointer(what), was.pointer(what), "{app}: {what}");
            }
            assert_eq!(world.others(app).await, others, "nothing else of the project was touched");
        }
        for (_, door) in &doors {
            world.answers(door, true).await;
        }

        // The job behind the profile has run, of one image and of another.
        for version in ["1", "2"] {
            world.image(&seed, 80, "job", version).await;
            world.run(&["-f", UP[1], "--profile", "seed", "up", "-d", "--no-deps", "seed"]).await;
            world.ended("seed").await;
            world.record("seed", false).await;
        }
        let refused = world.plan("seed", &service(), Wanted::Release(FIRST)).await.expect_err("it has ended");
        for words in ["one-shot job", "start it first"] {
            assert!(refused.message.contains(words), "{words}: {refused:?}");
        }

        world.run(&UP).await;
        for (_, door) in &doors {
            world.answers(door, false).await;
        }
        world.run(&["-f", UP[1], "--profile", "seed", "down", "-v"]).await;
    }
}
