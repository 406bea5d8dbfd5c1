//! How long a service is missed, by each way to swap it: two shops, one for each Compose, their ways taking turns, and
//! the bare `docker stop` and `docker start` of the same service among them.

use std::path::Path;
use std::time::{Duration, Instant};

use sternway::prober::Prober;
use sternway::store::Record;

use super::bot::{Home, OwnSwap};
use super::figures::{counts, milliseconds, seconds, times};
use super::shop::{Compose, Kind, Result, Shop, Swap};

/// Rounds; in each, every way has its turn. An odd number has a median that was measured.
const ROUNDS: usize = 7;
/// One request every so often.
const EVERY: Duration = Duration::from_millis(2);
/// Good answers after which a service counts as back, before the next swap: about 0.4 s of them.
const CALM: usize = 200;
/// When it is not back by then it will not come.
const BOUND: Duration = Duration::from_secs(60);

/// A shop for each Compose, with a bot of its own.
pub(crate) struct Bench(Vec<(Shop, Home)>);

/// A swap as people outside saw it.
struct Outside {
    gap: Duration,
    failed: usize,
}

/// What was seen of one kind of service.
pub(crate) struct Seen {
    bare: Vec<(Swap, Outside)>,
    own: Vec<(OwnSwap, Outside)>,
    composes: [Vec<(Swap, Outside)>; 2],
    /// The records of the last rollback.
    pub(crate) thread: Vec<Record>,
}

impl Bench {
    /// Brings the shops up and opens their bots.
    pub(crate) async fn up(
        product: &Path,
        id: &str,
        folder: &Path,
        kind: Kind,
        composes: &[Compose; 2],
    ) -> Result<Self> {
        let mut shops = Vec::new();
        for (nth, compose) in composes.iter().enumerate() {
            let shop = Shop::up(product, &format!("{id}-{nth}"), kind, compose)?;
            let home = Home::open(&shop, &folder.join(nth.to_string()))?;
            home.wake(&shop.image("api", "1.0")).await?.sleep().await;
            shops.push((shop, home));
        }
        Ok(Self(shops))
    }

    /// The first shop and its bot.
    pub(crate) fn into_first(mut self) -> (Shop, Home) {
        self.0.swap_remove(0)
    }

    /// In each round and shop: Compose brings 1.1, the bot goes back to 1.0, which is stopped and started once more.
    pub(crate) async fn rounds(&self) -> Result<Seen> {
        let (mut bare, mut own, mut composes) = (Vec::new(), Vec::new(), [Vec::new(), Vec::new()]);
        for round in 0..ROUNDS {
            for ((shop, home), by_compose) in self.0.iter().zip(&mut composes) {
                by_compose.push(by_command(shop, |shop| shop.swap_by_compose("1.1")).await?);
                own.push(by_bot(shop, home, round).await?);
                bare.push(by_command(shop, Shop::restart_bare).await?);
            }
        }
        let thread = own.last().map(|(swap, _)| swap.thread.clone()).ok_or("no rounds")?;
        Ok(Seen { bare, own, composes, thread })
    }
}

async fn by_command(shop: &Shop, command: impl FnOnce(&Shop) -> Result<Swap>) -> Result<(Swap, Outside)> {
    let prober = calmly(shop).await?;
    // Blocks this thread; the prober has its own and the bot sleeps.
    let swap = tokio::task::block_in_place(|| command(shop))?;
    let seen = outside(prober, swap.given).await?;
    Ok((swap, seen))
}

async fn by_bot(shop: &Shop, home: &Home, round: usize) -> Result<(OwnSwap, Outside)> {
    let bot = home.wake(&shop.image("api", "1.1")).await?;
    let prober = calmly(shop).await?;
    let swap = bot.roll_back(shop, "1.0", format!("round-{round}")).await?;
    let seen = outside(prober, swap.given).await?;
    bot.sleep().await;
    Ok((swap, seen))
}

async fn calmly(shop: &Shop) -> Result<Prober> {
    let prober = Prober::start(&shop.health_url(), EVERY)?;
    calm(&prober).await?;
    Ok(prober)
}

async fn outside(prober: Prober, given: Instant) -> Result<Outside> {
    calm(&prober).await?;
    let end = Instant::now();
    let probes = prober.stop().await;
    Ok(Outside { gap: probes.longest_gap_in(given, end), failed: probes.failures() })
}

/// Waits for [`CALM`] further good answers.
async fn calm(prober: &Prober) -> Result<()> {
    let enough = prober.good_so_far() + CALM;
    let reached = async {
        let mut look = tokio::time::interval(Duration::from_millis(10));
        while prober.good_so_far() < enough {
            look.tick().await;
        }
    };
    tokio::time::timeout(BOUND, reached).await.map_err(|_| format!("no good answers for {BOUND:?}"))?;
    Ok(())
}

impl Seen {
    /// Prints a table: a column for each way.
    pub(crate) fn print(&self, kind: Kind, composes: &[Compose; 2]) {
        let [one, two] = composes.each_ref().map(|compose| compose.version.as_str());
        println!(
            "\n| {}; {ROUNDS} rounds | `docker stop` + `start` | `/rollback image api` | Compose {one} | Compose {two} |",
            kind.title
        );
        println!("|---|---|---|---|---|");
        self.row("longest time without a good answer", |seen| seconds(seen.iter().map(|s| s.gap).collect()));
        // Neighbours in time are compared: this round's and this shop's.
        let bare: Vec<f64> = self.bare.iter().map(|(_, seen)| seen.gap.as_secs_f64()).collect();
        let of = |gaps: Vec<Duration>, bare: Vec<f64>| {
            times(gaps.iter().zip(bare).map(|(gap, bare)| gap.as_secs_f64() / bare).collect())
        };
        let own = of(self.own.iter().map(|(_, seen)| seen.gap).collect(), bare.clone());
        let [one, two] = [0, 1].map(|nth| {
            let gaps = self.composes[nth].iter().map(|(_, seen)| seen.gap).collect();
            of(gaps, bare.iter().copied().skip(nth).step_by(2).collect())
        });
        println!("| × the bare one beside it | 1 | {own} | {one} | {two} |");
        self.row("failed requests", |seen| counts(seen.iter().map(|s| s.failed).collect()));
        if !kind.behind_nginx {
            let cuts: [Vec<_>; 4] = [
                self.bare.iter().map(|(swap, _)| swap.cut).collect(),
                self.own.iter().filter_map(|(swap, _)| swap.cut).collect(),
                self.composes[0].iter().map(|(swap, _)| swap.cut).collect(),
                self.composes[1].iter().map(|(swap, _)| swap.cut).collect(),
            ];
            let cells = |of: fn(&super::shop::Cut) -> Duration| {
                cuts.each_ref().map(|cuts| seconds(cuts.iter().map(of).collect())).join(" | ")
            };
            println!("| of it: old container signalled → stopped | {} |", cells(|cut| cut.stopping));
            println!("| of it: old stopped → new started | {} |", cells(|cut| cut.starting));
            let own = milliseconds(self.own.iter().filter_map(|(swap, _)| swap.own).collect());
            println!("| of it: Sternway's own, beyond the engine's two calls | – | {own} | – | – |");
        }
        println!(
            "| command → all done | {} | {} | {} | {} |",
            seconds(self.bare.iter().map(|(swap, _)| swap.returned).collect()),
            seconds(self.own.iter().map(|(swap, _)| swap.ended).collect()),
            seconds(self.composes[0].iter().map(|(swap, _)| swap.returned).collect()),
            seconds(self.composes[1].iter().map(|(swap, _)| swap.returned).collect()),
        );
    }

    fn row(&self, what: &str, cell: impl Fn(&[&Outside]) -> String) {
        let bare: Vec<_> = self.bare.iter().map(|(_, seen)| seen).collect();
        let own: Vec<_> = self.own.iter().map(|(_, seen)| seen).collect();
        let [one, two] = self.composes.each_ref().map(|of| of.iter().map(|(_, seen)| seen).collect::<Vec<_>>());
        println!("| {what} | {} | {} | {} | {} |", cell(&bare), cell(&own), cell(&one), cell(&two));
    }
}
