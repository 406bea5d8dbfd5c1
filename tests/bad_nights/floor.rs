//! Too little room on the engine's disk: nothing is begun, and with room again everything is as always.

use std::sync::Arc;

use sternway::domain::event::Outcome;
use sternway::domain::run::Status;

use crate::bot::Served;
use crate::lab::{self, Lab};
use crate::proxy::Proxy;
use crate::shop::{Settings, Shop, compose_command};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn below_the_floor_of_free_space_no_container_is_touched_and_with_room_again_it_goes_on() {
    if !lab::possible() {
        return;
    }
    let lab = Arc::new(Lab::open(true).await);
    let versions = [("1.0", "good"), ("1.1", "good")];
    let Some(shop) = Shop::at(&lab.host, compose_command().await, &versions, |text| text).await else { return };
    let proxy = Proxy::before(shop.folder(), &lab.host);
    let config = shop.write_config(&Settings { docker: Some(proxy.socket.clone()), ..Settings::default() });
    let bot = Served::start(&shop, &config, &shop.store()).await;
    bot.journal.release(&shop.image("1.0"), true).await;
    shop.deploy("1.1").await;
    bot.journal.release(&shop.image("1.1"), true).await;
    let before = shop.api().await;

    lab.disk().fill(100 * 1024 * 1024);
    proxy.arm(None);
    let began = bot.journal.head();
    bot.sit().await.say("/rollback image api because there is no room").await;
    let run = bot.journal.at_rest(began).await;
    let Status::Ended { outcome: Outcome::Refused { why, .. }, .. } = &run.status else { panic!("{:?}", run.status) };
    assert!(why.contains("MB are free where Docker keeps its data"), "{why}");
    assert_eq!(proxy.calls(), Vec::<String>::new(), "nothing was changed");
    let after = shop.api().await;
    for what in ["/Id", "/State/StartedAt", "/HostConfig/RestartPolicy"] {
        assert_eq!(before.pointer(what), after.pointer(what), "{what}: nothing was touched");
    }
    shop.serves("1.1").await;

    lab.disk().make_room();
    let began = bot.journal.head();
    bot.sit().await.say("/rollback image api because there is room").await;
    let run = bot.journal.at_rest(began).await;
    assert!(matches!(&run.status, Status::Ended { outcome: Outcome::Done, .. }), "{:?}", run.status);
    shop.serves("1.0").await;
    shop.compose(&["up", "-d"]).await;
    shop.serves("1.0").await;
    bot.journal.is_whole().await;
}
