//! Who stands in the door on a bad night: waits for the call, and does there what the night is about.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bollard::Docker;
use bollard::query_parameters::{
    ListContainersOptionsBuilder, RemoveContainerOptionsBuilder, RemoveImageOptionsBuilder,
    RenameContainerOptionsBuilder, TagImageOptionsBuilder,
};
use serde_json::json;

use crate::clock::FakeClock;
use crate::fault::{Fault, Point};
use crate::lab::Lab;
use crate::proxy::{Call, Handling, Hands};
use crate::shop::Shop;

/// How late a slow engine answers.
const LATE: Duration = Duration::from_secs(3);

/// How far the clock jumps, in hours: beyond every limit of a run and every approval.
const JUMP_H: i64 = 5;

/// What is wanted by whoever works by hand.
pub(crate) struct Tonight {
    pub(crate) point: Point,
    pub(crate) lab: Arc<Lab>,
    pub(crate) shop: Arc<Shop>,
    pub(crate) clock: Option<Arc<FakeClock>>,
    /// The container that ran when the night began.
    pub(crate) old: String,
    /// Reference of the image that the run goes to.
    pub(crate) image: String,
    seen: Mutex<Seen>,
    on: AtomicBool,
}

#[derive(Default, Clone)]
pub(crate) struct Seen {
    /// At which call it happened, and when.
    pub(crate) at: Option<(String, Instant)>,
    /// What came of it, where something can.
    pub(crate) hand: Option<String>,
}

impl Tonight {
    pub(crate) fn new(
        point: Point,
        (lab, shop): (&Arc<Lab>, &Arc<Shop>),
        clock: Option<Arc<FakeClock>>,
        old: String,
        image: String,
    ) -> Self {
        let (lab, shop) = (Arc::clone(lab), Arc::clone(shop));
        Self { point, lab, shop, clock, old, image, seen: Mutex::default(), on: AtomicBool::new(false) }
    }

    pub(crate) fn seen(&self) -> Seen {
        self.seen.lock().unwrap().clone()
    }

    /// What comes through the socket is well again.
    pub(crate) fn over(&self) {
        self.on.store(false, Ordering::SeqCst);
    }

    fn happens_at(&self, call: &Call) -> bool {
        let mut seen = self.seen.lock().unwrap();
        let now = call.nth == Some(self.point.call) && seen.at.is_none() && self.point.fault != Fault::Nothing;
        if now {
            seen.at = Some((call.line.clone(), Instant::now()));
        }
        now
    }

    /// What becomes of a call while a fault of the socket lasts.
    fn through(&self, call: &Call) -> Handling {
        if call.line.contains(" /events") {
            return Handling::Pass; // a stream without an end
        }
        match self.point.fault {
            Fault::HungAWhile | Fault::HungForGood => Handling::Hang,
            Fault::HungLooks if call.nth.is_none() => Handling::Hang,
            Fault::Slow => Handling::Late(LATE),
            Fault::Error500Once | Fault::Error500Always => Handling::Say(error_500()),
            Fault::Refused => Handling::Drop,
            Fault::CutOnce | Fault::CutAlways => Handling::Change(Arc::new(cut)),
            Fault::TruncatedOnce | Fault::TruncatedAlways => Handling::Change(Arc::new(truncated)),
            Fault::Hostile => Handling::Change(Arc::new(hostile)),
            _ => Handling::Pass,
        }
    }

    async fn work(&self) -> Result<String, String> {
        let docker = Docker::connect_with_host(&self.lab.host).expect("a socket");
        let told = |e: bollard::errors::Error| e.to_string();
        let new = || async { self.new_one(&docker).await.ok_or_else(|| "there is no new one".to_owned()) };
        let remove = RemoveContainerOptionsBuilder::new().force(true).build();
        let away = |id: &str| RenameContainerOptionsBuilder::new().name(&format!("{}-mine", &id[..12])).build();
        let old = self.old.as_str();
        match self.point.fault {
            Fault::RemoveOld => docker.remove_container(old, Some(remove)).await.map_err(told)?,
            Fault::RemoveNew => docker.remove_container(&new().await?, Some(remove)).await.map_err(told)?,
            Fault::RenameOld => docker.rename_container(old, away(old)).await.map_err(told)?,
            Fault::RenameNew => {
                let new = new().await?;
                docker.rename_container(&new, away(&new)).await.map_err(told)?;
            }
            Fault::RestartOld => docker.restart_container(old, None).await.map_err(told)?,
            Fault::RestartNew => docker.restart_container(&new().await?, None).await.map_err(told)?,
            Fault::StopOld => docker.stop_container(old, None).await.map_err(told)?,
            Fault::StopNew => docker.stop_container(&new().await?, None).await.map_err(told)?,
            Fault::DeleteImage => {
                let image = docker.inspect_image(&self.image).await.map_err(told)?.id.unwrap_or_default();
                let force = RemoveImageOptionsBuilder::new().force(true).build();
                docker.remove_image(&image, Some(force), None).await.map_err(told)?;
            }
            Fault::MoveTag => {
                let (repo, tag) = self.image.rsplit_once(':').expect("a tag");
                let options = TagImageOptionsBuilder::new().repo(repo).tag(tag).build();
                docker.tag_image(&self.shop.image("2.0"), Some(options)).await.map_err(told)?;
            }
            Fault::Redeploy => {
                self.shop.pin("2.0");
                self.shop.try_compose(&["up", "-d", "--no-deps", "api"]).await?;
            }
            Fault::Forward | Fault::Back => {
                let hours = if self.point.fault == Fault::Forward { JUMP_H } else { -JUMP_H };
                self.clock.as_ref().expect("a clock that can be moved").set(hours);
            }
            Fault::DiskFull => self.lab.disk().fill(0),
            _ => {}
        }
        Ok("done".to_owned())
    }

    /// The container of `api` that is not the old one, if there is one.
    async fn new_one(&self, docker: &Docker) -> Option<String> {
        let filters = std::collections::HashMap::from([(
            "label",
            vec![
                format!("com.docker.compose.project={}", self.shop.project()),
                "com.docker.compose.service=api".to_owned(),
            ],
        )]);
        let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
        let found = docker.list_containers(Some(options)).await.ok()?;
        found.into_iter().filter_map(|c| c.id).find(|id| *id != self.old)
    }
}

#[async_trait::async_trait]
impl Hands for Tonight {
    async fn before(&self, call: &Call) -> Handling {
        if self.happens_at(call) {
            match self.point.fault {
                Fault::KilledBefore | Fault::AllKilledBefore => {
                    self.lab.kill(self.point.fault == Fault::AllKilledBefore);
                    return Handling::Drop;
                }
                Fault::KilledAfter | Fault::AllKilledAfter => return Handling::LoseAnswer,
                Fault::Error500Once | Fault::CutOnce | Fault::TruncatedOnce => return self.through(call),
                fault if Fault::OF_SOCKET.contains(&fault) => self.on.store(true, Ordering::SeqCst),
                _ => {
                    let came = self.work().await.unwrap_or_else(|why| why);
                    self.seen.lock().unwrap().hand = Some(came);
                }
            }
        }
        if self.on.load(Ordering::SeqCst) { self.through(call) } else { Handling::Pass }
    }

    async fn after(&self, _: &Call) {
        self.lab.kill(self.point.fault == Fault::AllKilledAfter);
    }
}

fn error_500() -> Vec<u8> {
    let body = json!({"message": "a night like this"}).to_string();
    answer("500 Internal Server Error", body.as_bytes())
}

fn answer(status: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// Head and body as they came.
fn parts(answer: &[u8]) -> (&[u8], &[u8]) {
    let end = answer.windows(4).position(|w| w == b"\r\n\r\n").map_or(answer.len(), |at| at + 4);
    answer.split_at(end)
}

/// The connection ends in the middle of the body, or of the head where there is none.
fn cut(whole: Vec<u8>) -> Vec<u8> {
    let (head, body) = parts(&whole);
    let keep = if body.is_empty() { head.len() / 2 } else { head.len() + body.len() / 2 };
    whole[..keep].to_vec()
}

/// A whole answer, whose body is half of what it should be.
fn truncated(whole: Vec<u8>) -> Vec<u8> {
    let (head, body) = parts(&whole);
    let text = String::from_utf8_lossy(head);
    // An error stays one, and what has no body stays without.
    let status = text.lines().next().and_then(|l| l.split_once(' ')).map_or("200 OK", |(_, s)| s).to_owned();
    if body.is_empty() { whole } else { answer(&status, &body[..body.len() / 2]) }
}

/// JSON of the wrong shape, whatever was asked.
fn hostile(whole: Vec<u8>) -> Vec<u8> {
    let (_, body) = parts(&whole);
    if body.is_empty() {
        return whole;
    }
    let name = "../../etc/passwd\u{1b}]0;owned\u{7}\u{202e}";
    let body = json!({
        "Id": name, "Name": name, "Image": ["sha256:", {"x": name}], "Created": -1, "State": name, "Driver": 7,
        "Config": {"Labels": name, "Env": {"PATH": name}, "Image": name}, "HostConfig": [], "Mounts": name,
        "NetworkSettings": {"Networks": [name], "Ports": name}, "RootFS": {"Layers": name}, "ApiVersion": name,
        "SystemTime": name, "DockerRootDir": name, "message": name, "Warnings": name,
    });
    answer("200 OK", body.to_string().as_bytes())
}
