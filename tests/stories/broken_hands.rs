//! Hands that can neither do one step nor take it back, until they are mended.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use sternway::agent::{Act, ActError, Observed, Order, Progress};
use sternway::domain::names::{ProjectName, ServiceName};
use sternway::domain::plan::StepOutput;
use sternway::domain::release::Handles;

/// Mends the hands when it is set.
pub(crate) type Mended = Arc<AtomicBool>;

/// From the `after`th order on nothing can be done.
pub(crate) struct Broken {
    inner: Arc<dyn Act>,
    after: usize,
    orders: AtomicUsize,
    mended: Mended,
    why: &'static str,
}

impl Broken {
    pub(crate) fn new(inner: Arc<dyn Act>, after: usize, mended: &Mended) -> Self {
        let why = "the hands are broken";
        Self { inner, after, orders: AtomicUsize::new(0), mended: Arc::clone(mended), why }
    }

    fn fail(&self) -> Option<ActError> {
        let order = self.orders.fetch_add(1, Ordering::SeqCst);
        (order >= self.after && !self.mended.load(Ordering::SeqCst)).then(|| ActError::Failed(self.why.to_owned()))
    }
}

#[async_trait::async_trait]
impl Act for Broken {
    async fn act(&self, order: &Order, progress: Progress) -> Result<StepOutput, ActError> {
        match self.fail() {
            Some(error) => Err(error),
            None => self.inner.act(order, progress).await,
        }
    }

    async fn observe(&self, order: &Order) -> Result<Observed, ActError> {
        self.inner.observe(order).await
    }

    async fn keep(&self, project: &ProjectName, service: &ServiceName, image: &Handles) -> Result<(), ActError> {
        self.inner.keep(project, service, image).await
    }

    fn can(&self) -> &'static [&'static str] {
        self.inner.can()
    }
}
