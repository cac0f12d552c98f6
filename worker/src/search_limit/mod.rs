//! How many searches this process may have at once against an endpoint, and how many hosts may stand in one.
//!
//! Both are found from the endpoint's answers and shared by the fleet, so that ten workers are no harder on a cluster than
//! one. About once a second a worker that searches tells the fleet's row what it was answered, and takes its share:
//!
//! | part | question |
//! |---|---|
//! | `allowance` | what a period of answers makes of the two numbers; pure |
//! | `baselines` | what a search takes alone, by kind of search; pure |
//! | `shares` | who has how much of the fleet's searches; pure |
//! | `gate` | the turns of this process's searches |
//! | `exchange` | the way to the row and back |
//!
//! Without the database the last share stands. Nothing here ends or fails a batch.

mod allowance;
mod baselines;
mod exchange;
mod gate;
mod report;
mod shares;
#[cfg(test)]
mod simulation;

pub(crate) use self::baselines::SearchKind;
pub(crate) use self::exchange::{Stopping, keep_up};
pub(crate) use self::gate::{NoTurn, SearchGates, SearchTurns, TurnSource};
pub(crate) use self::report::SearchSign;
