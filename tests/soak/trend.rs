//! Whether something grows, told from readings that swing: medians of thirds, once it is warm.

/// What may come on top before it counts as growth: a share of the first third, and a fixed part.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slack {
    pub(super) share: f64,
    pub(super) more: f64,
}

/// Medians of the three thirds that follow the first quarter, which is warming up.
pub(super) fn thirds(values: &[f64]) -> [f64; 3] {
    let warm = &values[values.len() / 4..];
    let third = warm.len() / 3;
    [median(&warm[..third]), median(&warm[third..2 * third]), median(&warm[2 * third..])]
}

/// Whether the last third stands above the first by more than the slack.
pub(super) fn grows(thirds: [f64; 3], slack: Slack) -> bool {
    thirds[2] > thirds[0] * (1.0 + slack.share) + slack.more
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

/// Readings as they come, and whether they must be told as growth.
pub(super) fn cases() {
    let slack = Slack { share: 0.04, more: 3.0 };
    let series = |of: fn(f64) -> f64| (0..120).map(|n| of(f64::from(n))).collect::<Vec<_>>();
    let swings = |n: f64| f64::from((n as u32 * 37) % 11);
    for (name, values, expected) in [
        ("flat", series(|_| 50.0), false),
        ("swinging", (0..120).map(|n| 50.0 + swings(f64::from(n))).collect(), false),
        ("warming up, then flat", series(|n| 50.0 + n.min(25.0)), false),
        ("a single peak", series(|n| if n == 100.0 { 500.0 } else { 50.0 }), false),
        ("falling", series(|n| 90.0 - n / 4.0), false),
        ("growing", series(|n| 50.0 + n / 8.0), true),
        ("growing while it swings", (0..120).map(|n| 50.0 + f64::from(n) / 6.0 + swings(f64::from(n))).collect(), true),
        ("a step that stays", series(|n| if n < 85.0 { 50.0 } else { 70.0 }), true),
    ] {
        assert_eq!(grows(thirds(&values), slack), expected, "{name}: {:?}", thirds(&values));
    }
}
