//! What every part of dispatch shares, and the few steps that all of them take.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use tokio::sync::{Semaphore, SemaphorePermit, watch};
use tokio_util::task::TaskTracker;

use crate::agent::{Act, ContainerFacts, Inspect};
use crate::chat::MessageKey;
use crate::chat::outbox::{Delivery, Message, Outbox};
use crate::clock::Clock;
use crate::command::Catalogue;
use crate::config::Config;
use crate::config::channels::CONSOLE_CHANNEL;
use crate::config::service::SwapOrder;
use crate::domain::actor::{Account, Person, Surface};
use crate::domain::card::Card;
use crate::domain::event::{Event, Subject};
use crate::domain::ids::{Position, RunId};
use crate::domain::invocation::{Invocation, Place};
use crate::domain::names::{HostName, ServiceName, StackName};
use crate::domain::plan::{Proxy, StartFirst};
use crate::domain::trouble::{Trouble, TroubleKind};
use crate::gate::limits::Limits;
use crate::procedures::driver::ProgressBoard;
use crate::procedures::planner::ServiceRules;
use crate::store::{About, AppendError, Draft, Record, SharedLog};

/// Tries of a decision that others' writes keep overtaking. Each try is a read and a compare-and-set; 200 in a row
/// means something is wrong.
pub const DECIDE_TRIES: usize = 200;

/// Plans made at the same time; more requests wait for their turn.
pub const PLANS_AT_ONCE: usize = 16;

/// How long a request waits for its turn to be planned: nobody stands in front of an answer for longer.
const TURN_WAIT: std::time::Duration = std::time::Duration::from_mins(1);

/// How long a notice waits for room in an outbox.
const NOTICE_LIMIT: std::time::Duration = std::time::Duration::from_secs(1);

/// One Docker host, as bot and agent meet.
#[derive(Clone)]
pub struct Host {
    /// Eyes.
    pub inspect: Arc<dyn Inspect>,
    /// Hands; only the driver uses them, and the recorder for keeping images.
    pub act: Arc<dyn Act>,
}

/// Everything.
pub struct Core {
    /// The log.
    pub log: SharedLog,
    /// The config.
    pub config: Arc<Config>,
    /// What can be said.
    pub catalogue: Arc<Catalogue>,
    /// The hosts by name.
    pub hosts: BTreeMap<HostName, Host>,
    /// How often.
    pub limits: Limits,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Epoch of the tokens.
    pub epoch: u64,
    /// Newest words of running steps.
    pub progress: Arc<ProgressBoard>,
    /// True when the bot shuts down.
    pub closing: watch::Receiver<bool>,
    /// Mouths by surface; they come after recovery, when the doors open.
    pub mouths: RwLock<BTreeMap<Surface, Arc<Outbox>>>,
    /// Tasks that have to end before the bot does.
    pub tasks: TaskTracker,
    /// Runs that a task takes care of at this moment.
    pub active: Mutex<BTreeSet<RunId>>,
    /// Turns at planning. Each plan looks at the engine a dozen times, and a thousand at once would take its connections and
    /// our file handles.
    pub planning: Semaphore,
    /// Services seen last, for completion.
    pub services: Mutex<BTreeMap<StackName, Vec<ServiceName>>>,
    /// Folder of the log's segments, when it is on disk.
    pub store_folder: Option<std::path::PathBuf>,
}

impl Core {
    /// The person an account belongs to.
    pub fn person(&self, account: &Account) -> Option<&Person> {
        self.config.person_of(account)
    }

    /// The host of a target.
    ///
    /// # Errors
    /// When the config names none.
    pub fn host(&self, name: &HostName) -> Result<&Host, Trouble> {
        self.hosts
            .get(name)
            .ok_or_else(|| Trouble::new(TroubleKind::Unavailable, format!("no agent is connected for host {name}.")))
    }

    /// What the config says about a service, given its container.
    pub fn rules(&self, stack: &StackName, service: &ServiceName, container: &ContainerFacts) -> ServiceRules {
        let stack = self.config.stack(stack);
        let sharing = stack.map(|s| s.shares_pin(service)).unwrap_or_default();
        let configured = stack.map(|s| s.service(service));
        let service = configured.unwrap_or_else(|| crate::config::service::Service::unnamed());
        ServiceRules {
            health: crate::config::health_rule(service, &container.published, container.has_check),
            guessed_among: crate::config::guessed_among(service, &container.published),
            grace_s: service.grace_s(),
            proxies: service.proxies.iter().filter_map(|p| Some((p.service.clone(), p.signal.clone()?))).collect(),
            start_first: (service.order == SwapOrder::StartFirst).then(|| StartFirst {
                proxies: service
                    .proxies
                    .iter()
                    .map(|p| Proxy { service: p.service.clone(), signal: p.signal.clone() })
                    .collect(),
                drain_ms: crate::config::duration::millis(service.drain),
            }),
            pin: service.pin.as_ref().map(|p| (p.file.clone(), p.key.clone())),
            pin_shared_with: sharing.into_iter().cloned().collect(),
            repositories: service.repositories.iter().map(|r| r.as_str().to_owned()).collect(),
        }
    }

    /// A turn at planning. Under a claim nobody waits for one: there is one run to a stack.
    ///
    /// # Errors
    /// When too many want one.
    pub async fn turn_at_planning(&self) -> Result<SemaphorePermit<'_>, Trouble> {
        match tokio::time::timeout(TURN_WAIT, self.planning.acquire()).await {
            Ok(Ok(turn)) => Ok(turn),
            Ok(Err(_)) | Err(_) => {
                let why = "too many plans are being made at this moment. Nothing was done.";
                Err(Trouble::new(TroubleKind::Busy, why).say("Say it again."))
            }
        }
    }

    /// Records about one run.
    ///
    /// # Errors
    /// As the log says.
    pub async fn record(&self, run: RunId, events: Vec<Event>) -> Result<Vec<Record>, AppendError> {
        self.log.append(None, self.drafts(run, events)).await
    }

    /// The same records, to be written with others.
    pub fn drafts(&self, run: RunId, events: Vec<Event>) -> Vec<Draft> {
        let at = self.clock.now();
        events.into_iter().map(|event| Draft { about: About::Subject(Subject::Run(run)), at, event }).collect()
    }

    /// Says something to the account that spoke, and to nobody else.
    pub async fn answer(&self, invocation: &Invocation, card: Card) {
        let mouth = {
            let mouths = self.mouths.read().unwrap_or_else(PoisonError::into_inner);
            mouths.get(&invocation.place.surface).cloned()
        };
        if let Some(mouth) = mouth {
            // Position 0: an answer tells of no record, so it moves no cursor.
            let message = Message::Answer { invocation: invocation.clone(), card };
            if mouth.send(Delivery { position: Position(0), message }).await.is_err() {
                tracing::debug!("an answer came after the doors were closed");
            }
        }
    }

    /// The places that a surface serves, as far as the config names them.
    fn places(&self, surface: Surface) -> Vec<Place> {
        let place = |channel: &str| Place { surface, channel: channel.to_owned(), thread: None };
        if surface == Surface::Console {
            return vec![place(CONSOLE_CHANNEL)];
        }
        let bound = self.config.stacks.iter().flat_map(|stack| &stack.channels);
        bound.filter(|channel| channel.surface == surface).map(|channel| place(&channel.id)).collect()
    }

    /// One message for each place that a surface serves, about no run.
    pub fn notices(&self, surface: Surface, position: Position, key: &str, card: &Card) -> Vec<Delivery> {
        let notice = |place: Place| {
            let key = MessageKey(format!("{key}/{}", place.channel));
            Delivery { position, message: Message::Notice { place, key, card: card.clone() } }
        };
        self.places(surface).into_iter().map(notice).collect()
    }

    /// Says something everywhere, about no run and on no record. A surface whose outbox is full is left out: what it
    /// cannot be told now, `/status` tells.
    pub async fn notice(&self, key: &str, card: &Card) {
        let mouths: Vec<(Surface, Arc<Outbox>)> = {
            let mouths = self.mouths.read().unwrap_or_else(PoisonError::into_inner);
            mouths.iter().map(|(surface, outbox)| (*surface, Arc::clone(outbox))).collect()
        };
        for (surface, outbox) in mouths {
            let told = outbox.send_all(self.notices(surface, Position(0), key, card));
            if tokio::time::timeout(NOTICE_LIMIT, told).await.is_err() {
                tracing::warn!(surface = surface.as_str(), "no room for a notice there");
            }
        }
    }

    /// Nobody can be spoken to any more.
    pub fn drop_mouths(&self) {
        self.mouths.write().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// A surface can be spoken to from here on.
    pub fn add_mouth(&self, surface: Surface, outbox: Arc<Outbox>) {
        self.mouths.write().unwrap_or_else(PoisonError::into_inner).insert(surface, outbox);
    }

    /// Tells the person and puts the refusal on record.
    pub async fn refuse(&self, invocation: &Invocation, trouble: &Trouble) {
        let event = Event::Refused {
            account: invocation.account.clone(),
            tried: crate::domain::text::visible(&invocation.text),
            kind: trouble.kind.as_str().to_owned(),
            why: trouble.message.clone(),
        };
        let draft = Draft { about: About::Log, at: self.clock.now(), event };
        if let Err(error) = self.log.append(None, vec![draft]).await {
            tracing::error!(%error, "a refusal could not be recorded");
        }
        self.answer(invocation, trouble.to_card()).await;
    }

    /// Marks a run as taken care of; false when another task does already.
    pub fn take(&self, run: RunId) -> bool {
        self.active.lock().unwrap_or_else(PoisonError::into_inner).insert(run)
    }

    /// Whether a task takes care of the run.
    pub fn is_taken(&self, run: RunId) -> bool {
        self.active.lock().unwrap_or_else(PoisonError::into_inner).contains(&run)
    }

    /// Lets go of a run.
    pub fn release(&self, run: RunId) {
        self.active.lock().unwrap_or_else(PoisonError::into_inner).remove(&run);
    }

    /// Whether a task takes care of a run at this moment. One that is stuck holds its stack without any.
    pub fn is_under_way(&self, run: RunId) -> bool {
        self.active.lock().unwrap_or_else(PoisonError::into_inner).contains(&run)
    }

    /// Whether the bot shuts down.
    pub fn is_closing(&self) -> bool {
        *self.closing.borrow()
    }
}

/// What a person is told when a record could not be written (decision 9).
pub fn cannot_record(error: &AppendError) -> Trouble {
    match error {
        AppendError::Busy | AppendError::Moved(_) => {
            Trouble::new(TroubleKind::Busy, "too much is being written at this moment. Nothing was done.")
                .say("Say it again.")
        }
        AppendError::CannotWrite(why) => {
            Trouble::new(TroubleKind::Unavailable, format!("the record cannot be written, nothing is done: {why}"))
                .say("Make room on the disk of Sternway's store; it goes on by itself.")
                .try_this("/status")
        }
        AppendError::Duplicate(_) | AppendError::CannotFollow(_) => {
            Trouble::new(TroubleKind::NotFound, format!("{error}. Nothing was done.")).try_this("/runs list")
        }
    }
}

/// What a person is told when the index could not be read.
pub fn cannot_read(error: &crate::store::ReadError) -> Trouble {
    Trouble::new(TroubleKind::Unavailable, format!("{error}. Nothing was done."))
        .say("It is rebuilt from the log at the next start.")
}
