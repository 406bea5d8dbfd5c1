//! A tag that moves under a service, and what the team writes so that it need not: docker/awesome-compose, wordpress-mysql.

use sternway::config::service::Service;

use crate::world::{World, composes, pin, service};

const FILE: &str = include_str!("wordpress-mysql/compose.yaml");
const IMAGES: [&str; 4] = ["mariadb:10.6.4-focal", "wordpress:latest", "wordpress:6.5-apache", "wordpress:6.6-apache"];

/// Up with a good image, and then another one under the same tag that answers 503; both on record.
async fn spoil(world: &mut World) {
    world.image("mariadb:10.6.4-focal", 3306, "good", "1").await;
    world.image("wordpress:latest", 80, "good", "1").await;
    world.run(&["up", "-d"]).await;
    world.answers(&outside(world), true).await;
    world.record("wordpress", true).await;
    world.image("wordpress:latest", 80, "bad", "2").await;
    world.run(&["up", "-d"]).await;
    world.answers(&outside(world), false).await;
    world.record("wordpress", false).await;
}

fn outside(world: &World) -> String {
    format!("http://127.0.0.1:{}/", world.ports[0])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tag_that_moved_goes_back_and_the_card_says_that_the_next_up_follows_the_tag_again() {
    for compose in composes().await {
        let Some(mut world) = World::new(&compose, "moved", &[("compose.yaml", FILE)], &IMAGES).await else { return };
        spoil(&mut world).await;
        let (bad, before) = (world.running("wordpress").await, world.others("wordpress").await);

        let (done, warnings) = world.roll_back("wordpress", &service()).await;
        for wanted in ["the tag wordpress:latest no longer means", "the next `up` may bring wordpress:latest back"] {
            assert!(warnings.iter().any(|w| w.contains(wanted)), "{wanted}: {warnings:?}");
        }
        world.answers(&outside(&world), true).await;
        let good = world.running("wordpress").await;
        world.undo(done).await.unwrap();
        world.answers(&outside(&world), false).await;
        assert_eq!(world.running("wordpress").await, bad);

        world.roll_back("wordpress", &service()).await;
        assert_eq!(world.running("wordpress").await, good);
        world.run(&["up", "-d"]).await;
        assert_eq!(world.running("wordpress").await, bad, "as the card said");
        assert_eq!(world.others("wordpress").await, before, "the database was left alone");
        world.run(&["down", "-v"]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_the_image_in_a_variable_the_next_up_stays_there() {
    let pinned = Service { pin: Some(pin()), ..service() };
    for compose in composes().await {
        let text = FILE.replace("image: wordpress:latest", "image: ${APP_IMAGE}");
        let files = [("compose.yaml", text.as_str()), (".env", "APP_IMAGE=wordpress:latest\n")];
        let Some(mut world) = World::new(&compose, "moved", &files, &IMAGES).await else { return };
        spoil(&mut world).await;

        // The same tag, moved: one recreate, announced, and to the same image.
        let (done, warnings) = world.roll_back("wordpress", &pinned).await;
        assert!(warnings.iter().any(|w| w.contains("recreates wordpress once")), "{warnings:?}");
        let good = world.running("wordpress").await;
        world.undo(done).await.unwrap();
        assert_eq!(world.read(".env"), files[1].1, "the pin as it was");
        world.answers(&outside(&world), false).await;
        world.roll_back("wordpress", &pinned).await;
        for _ in 0..2 {
            world.run(&["up", "-d"]).await;
            assert_eq!(world.running("wordpress").await, good, "{}", world.read(".env"));
        }
        world.answers(&outside(&world), true).await;

        // A tag for each version: nothing is left to do for `up`.
        world.image("wordpress:6.5-apache", 80, "good", "3").await;
        world.image("wordpress:6.6-apache", 80, "bad", "4").await;
        for (tag, good) in [("6.5", true), ("6.6", false)] {
            world.write(".env", &format!("APP_IMAGE=wordpress:{tag}-apache\n"));
            world.run(&["up", "-d"]).await;
            world.answers(&outside(&world), good).await;
            world.record("wordpress", good).await;
        }
        let (_, warnings) = world.roll_back("wordpress", &pinned).await;
        assert_eq!(warnings, Vec::<String>::new());
        assert_eq!(world.read(".env"), "APP_IMAGE=wordpress:6.5-apache\n");
        let ours = world.container("wordpress").await["Id"].clone();
        world.run(&["up", "-d"]).await;
        assert_eq!(world.container("wordpress").await["Id"], ours, "the very container");
        world.answers(&outside(&world), true).await;
        world.run(&["down", "-v"]).await;
    }
}
