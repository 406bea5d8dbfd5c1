//! Start-first behind real proxies: requests leave on schedule all the while, and none of them fails; there, back, and
//! when the target is no good. Needs an engine, and Debian's nginx and HAProxy (`tests/setup/proxies.sh`).

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;
use sternway::agent::sim::Behaviour;
use sternway::domain::plan::StartFirst;

use crate::real_engine;
use crate::world::{Shape, World, act, effect, swapping, why};

const IMAGE: &str = "sternway-test/proxies:1";

/// Between two requests.
const EVERY: Duration = Duration::from_millis(20);

/// A proxy, how it is set up, and how it hears of new addresses.
struct Kind {
    name: &'static str,
    config: &'static str,
    command: &'static [&'static str],
    signal: Option<&'static str>,
    drain_ms: u64,
    /// It is on the service's second network only: the new container can stay out of its sight until it is ready.
    apart: bool,
}

const NGINX: &[&str] = &["/usr/sbin/nginx", "-c", "/etc/proxy/proxy.conf", "-g", "daemon off;"];

const RELOADED: Kind = Kind {
    name: "nginx that is reloaded",
    config: "user root; pid /run/nginx.pid; error_log stderr; events {} http { access_log off;
        upstream api { server api:8080; }
        server { listen 80; location / { proxy_pass http://api; proxy_connect_timeout 250ms; } } }",
    command: NGINX,
    signal: Some("HUP"),
    drain_ms: 1_000,
    apart: false,
};

const RESOLVER: Kind = Kind {
    name: "nginx with a resolver",
    config: "user root; pid /run/nginx.pid; error_log stderr; events {} http { access_log off;
        resolver 127.0.0.11 valid=1s;
        server { listen 80; location / {
            set $api http://api:8080; proxy_pass $api; proxy_connect_timeout 250ms;
            proxy_next_upstream error timeout; } } }",
    command: NGINX,
    signal: None,
    drain_ms: 2_000,
    apart: true,
};

const HAPROXY: Kind = Kind {
    name: "HAProxy with resolvers",
    config: "global
  maxconn 500
defaults
  mode http
  timeout connect 250ms
  timeout client 10s
  timeout server 10s
  retries 3
  option redispatch 1
  retry-on all-retryable-errors
resolvers docker
  nameserver dns 127.0.0.11:53
  timeout resolve 300ms
  timeout retry 300ms
  hold valid 500ms
  hold obsolete 500ms
frontend shop
  bind :80
  default_backend api
backend api
  balance roundrobin
  server-template api 4 api:8080 check inter 200ms resolvers docker init-addr libc,none
",
    command: &["/usr/sbin/haproxy", "-f", "/etc/proxy/proxy.conf"],
    signal: None,
    drain_ms: 2_000,
    apart: false,
};

#[tokio::test]
async fn no_request_fails_behind_nginx_that_is_reloaded() {
    no_request_fails_behind(&RELOADED).await;
}

#[tokio::test]
async fn no_request_fails_behind_nginx_with_a_resolver() {
    no_request_fails_behind(&RESOLVER).await;
}

#[tokio::test]
async fn no_request_fails_behind_haproxy_with_resolvers() {
    no_request_fails_behind(&HAPROXY).await;
}

async fn no_request_fails_behind(kind: &Kind) {
    let Some(world) = World::real().await else { return };
    if !has_proxies() {
        return;
    }
    let world = world.of(Shape { start_first: true, number: None });
    let old = world.image("2", Behaviour::Healthy).await;
    let slow = world.image("1", Behaviour::HealthyAfter(700)).await;
    let bad = world.image("0", Behaviour::Exits(1)).await;
    let deployed = world.deploy(&old).await;
    let port = put_in_front(&world, kind).await;
    let agent = world.agent();
    let asking = Asking::begin(port);

    let start_first = |mut swap: sternway::domain::plan::Swap| {
        let StartFirst { proxies, drain_ms } = swap.start_first.as_mut().unwrap();
        proxies[0].signal = kind.signal.map(str::to_owned);
        *drain_ms = kind.drain_ms;
        swap.health.deadline_s = 30;
        swap
    };
    let swap = start_first(world.swap(&agent, &bad).await);
    let told = why(act(&agent, &world.order(world.claim(), 1, swapping(&swap))).await);
    assert!(told.contains("served all the while"), "{}: {told}", kind.name);
    assert_eq!(world.settled("after a bad target", &old).await["Id"], deployed.id.as_str(), "{}", kind.name);

    let swap = start_first(world.swap(&agent, &slow).await);
    let claim = world.claim();
    assert!(effect(&act(&agent, &world.order(claim, 1, swapping(&swap))).await.unwrap()), "{}", kind.name);
    world.settled("after the swap", &slow).await;
    assert!(effect(&act(&agent, &world.order(claim, 2, swapping(&world.undo(&swap)))).await.unwrap()), "{}", kind.name);
    world.settled("after its undo", &old).await;

    let (asked, failed) = asking.end();
    println!("{}: {asked} requests, {} failed", kind.name, failed.len());
    assert!(asked > 100, "{}: only {asked} requests were made", kind.name);
    assert_eq!(failed, Vec::<String>::new(), "{}: of {asked} requests", kind.name);
}

fn has_proxies() -> bool {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/setup/proxies.sh");
    let done = Command::new("sh").arg(script).arg(IMAGE).status().expect("sh can be run");
    if !done.success() {
        assert!(std::env::var_os("CI").is_none(), "CI must run the tests behind proxies");
        println!("SKIPPED: no nginx and HAProxy to put in front");
    }
    done.success()
}

/// Puts the proxy in the place of the stand-in; gives the port of 127.0.0.1 that it is published on.
async fn put_in_front(world: &World, kind: &Kind) -> u16 {
    let engine = world.engine();
    let name = format!("{}-web-1", world.project);
    let stand_in = engine.inspect(&name).await.unwrap().unwrap();
    let id = stand_in["Id"].as_str().unwrap();
    engine.stop(id, 0).await.unwrap();
    engine.remove(id).await.unwrap();
    let folder: PathBuf = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("proxy-{}", world.project));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("proxy.conf"), kind.config).unwrap();
    let port = real_engine::free_port();
    let network = world.network(usize::from(kind.apart));
    let body = json!({
        "Image": IMAGE,
        "Entrypoint": kind.command,
        "Labels": stand_in["Config"]["Labels"],
        "ExposedPorts": {"80/tcp": {}},
        "HostConfig": {
            "NetworkMode": network,
            "Binds": [format!("{}:/etc/proxy:ro", folder.display())],
            "PortBindings": {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": port.to_string()}]},
        },
        "NetworkingConfig": {"EndpointsConfig": {network: {"Aliases": ["web"]}}},
    });
    let id = engine.create(&name, &body).await.unwrap();
    engine.start(&id).await.unwrap();
    let ready = async {
        let mut tick = tokio::time::interval(Duration::from_millis(50));
        while real_engine::ask(port).await.is_err() {
            tick.tick().await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(20), ready).await;
    assert!(waited.is_ok(), "{} never passed a request on: {:?}", kind.name, real_engine::ask(port).await);
    port
}

/// Requests on schedule, whatever becomes of the ones before, on a thread of their own.
struct Asking {
    end: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
    thread: std::thread::JoinHandle<Vec<String>>,
}

impl Asking {
    fn begin(port: u16) -> Self {
        let (end, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (ends, counts) = (Arc::clone(&end), Arc::clone(&asked));
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let mut tick = tokio::time::interval(EVERY);
                let mut under_way = tokio::task::JoinSet::new();
                while !ends.load(Ordering::Relaxed) {
                    tick.tick().await;
                    let nth = counts.fetch_add(1, Ordering::Relaxed);
                    under_way.spawn(async move {
                        real_engine::ask(port).await.map_err(|why| format!("request {nth}: {why}"))
                    });
                }
                under_way.join_all().await.into_iter().filter_map(Result::err).collect()
            })
        });
        Self { end, asked, thread }
    }

    fn end(self) -> (usize, Vec<String>) {
        self.end.store(true, Ordering::Relaxed);
        let failed = self.thread.join().unwrap();
        (self.asked.load(Ordering::Relaxed), failed)
    }
}
