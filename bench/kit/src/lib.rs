//! What the benchmarks share: contestants that take turns, results in files, and the report that is
//! made of them.
//!
//! The machines are shared and noisy, so figures are compared only within one run: every
//! contestant gets one short turn per round, and what is reported is the median over the rounds.
//! A program writes what it measured into the directory that `BENCH_RESULTS` names, if any; the
//! program `bench-report` gathers the files into `report.md`, `report.json` and plots.

mod arguments;
mod goals;
mod latencies;
mod machine;
mod markdown;
mod optimum;
mod orders;
mod plot;
mod readme;
mod record;
mod report;
mod results;
mod spread;
mod tables;
mod text;
mod times;
mod trace;
mod turns;
pub mod value;
mod zipf;

pub use arguments::{Arguments, ArgumentsError};
pub use goals::{Elsewhere, Goal, judge};
pub use latencies::{Latencies, Timed, take_turns};
pub use machine::{Machine, resident};
pub use optimum::optimum;
pub use orders::Orders;
pub use readme::readme;
pub use record::Recorder;
pub use report::{Report, ReportError, Run};
pub use results::{Bound, Checked, Line, Plot, Results, Row, Table};
pub use spread::Spread;
pub use text::with_sources;
pub use times::Times;
pub use trace::{Trace, TraceError};
pub use turns::{Contestant, Figure, by_two, compete, cpu_seconds};
pub use zipf::zipf;
