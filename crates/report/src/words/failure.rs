//! Why a cell has no result: what stands in brackets behind `failed`.

use weir_model::{CellFailure, FailureReason};

use super::difference::not_comparable;
use crate::numerals;

/// Without a full stop.
pub fn failure(of: &FailureReason) -> String {
    match of {
        FailureReason::ControlServed => "a control with external hits".to_owned(),
        FailureReason::ControlConnected => "a control with an offload connector".to_owned(),
        FailureReason::UnevenChoice => {
            "random routing sent nearly all requests to one replica".to_owned()
        }
        FailureReason::AnswersContradict => "hits that the answers contradict".to_owned(),
        FailureReason::StoreContradicts => "hits that the store contradicts".to_owned(),
        FailureReason::ServedTooMuch => "hits beyond what could be served".to_owned(),
        FailureReason::Cell(failure) => of_cell(failure),
        FailureReason::Requests { failed, measured, most, commonest } => {
            let commonest = commonest.as_ref().map_or_else(String::new, |commonest| {
                let times = if commonest.requests == *failed {
                    String::new()
                } else {
                    format!("{} times ", commonest.requests)
                };
                format!(": {times}{}", commonest.cause)
            });
            format!(
                "{failed} of {measured} measured requests failed (at most {} is allowed){commonest}",
                numerals::share(*most)
            )
        }
        FailureReason::NothingDue => {
            "no request was due in the measured window: shorten load.warmup, or let the load go on \
             for longer (load.duration, load.max_requests)"
                .to_owned()
        }
        FailureReason::NothingCompleted { measured } => format!(
            "none of {measured} measured requests had ended when the cell did: raise client.drain"
        ),
        FailureReason::NotComparable(differences) => not_comparable(differences),
    }
}

fn of_cell(failure: &CellFailure) -> String {
    match failure {
        CellFailure::Rows(contradiction) => contradiction.to_string(),
        CellFailure::Unbalanced { in_flight_ns, residence_ns } => format!(
            "the integral of requests in flight, {in_flight_ns} ns, is not the sum of residence \
             times, {residence_ns} ns"
        ),
        CellFailure::Unfit(unfit) => unfit.to_string(),
        CellFailure::Shard(shard) => shard.to_string(),
        CellFailure::Error(error) => error.clone(),
    }
}
