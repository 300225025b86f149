//! The retry expression of `buffering`: which failed attempts are followed by another, found by trying each.

use crate::upstream::predicate::{Comparison, Constant, Predicate};
use crate::upstream::retry::{Retry, RetryOn};

/// Attempts after which Traefik gives up.
const ATTEMPTS: u8 = 10;

/// An attempt that has failed, or not.
#[derive(Clone, Copy)]
struct Tried {
    method: &'static str,
    number: u8,
    status: u16,
}

/// What an expression asks for. Only what may be repeated is, whatever it says of methods.
///
/// # Errors
/// What is wrong with it.
pub(super) fn retry(text: &str) -> Result<Retry, String> {
    let predicate = Predicate::parse(text)?;
    check(&predicate)?;
    let holds = |tried: Tried| predicate.holds(&mut |comparison| is_so(comparison, tried));
    let first = Tried { method: "GET", number: 1, status: 502 };
    let repeats = (1..=ATTEMPTS).take_while(|number| holds(Tried { number: *number, ..first })).count();
    let on_status: Vec<u16> = (400..=599).filter(|status| holds(Tried { status: *status, ..first })).collect();
    let by_status = on_status.iter().map(|status| {
        (1..=ATTEMPTS).take_while(|number| holds(Tried { number: *number, status: *status, ..first })).count()
    });
    let attempts = by_status.chain([repeats]).max().unwrap_or(0);
    Ok(Retry {
        attempts: u8::try_from(attempts).unwrap_or(ATTEMPTS),
        on: if on_status.contains(&504) { vec![RetryOn::HeaderTimeout] } else { Vec::new() },
        on_status,
        ..Retry::default()
    })
}

fn check(predicate: &Predicate) -> Result<(), String> {
    match predicate {
        Predicate::Any(parts) | Predicate::All(parts) => parts.iter().try_for_each(check),
        Predicate::Holds(Comparison { function, arguments, with }) => {
            let is_known = matches!(
                (function.as_str(), with),
                ("IsNetworkError", None)
                    | ("Attempts" | "ResponseCode", Some((_, Constant::Number(_))))
                    | ("RequestMethod", Some((_, Constant::Text(_))))
            );
            if is_known && arguments.is_empty() {
                return Ok(());
            }
            Err(format!(
                "`{function}` is none of IsNetworkError(), Attempts() < 3, ResponseCode() == 503 and RequestMethod() == \"GET\""
            ))
        }
    }
}

fn is_so(comparison: &Comparison, tried: Tried) -> bool {
    match (comparison.function.as_str(), &comparison.with) {
        ("IsNetworkError", None) => matches!(tried.status, 502 | 504),
        ("Attempts", Some((comparator, Constant::Number(number)))) => {
            comparator.holds(f64::from(tried.number), *number)
        }
        ("ResponseCode", Some((comparator, Constant::Number(number)))) => {
            comparator.holds(f64::from(tried.status), *number)
        }
        ("RequestMethod", Some((comparator, Constant::Text(text)))) => comparator.holds(tried.method, text.as_str()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_is_what_it_does() {
        for (text, attempts, statuses) in [
            ("IsNetworkError() && Attempts() < 3", 2, &[502, 504][..]),
            ("IsNetworkError() && Attempts() <= 2 && RequestMethod() == \"GET\"", 2, &[502, 504]),
            ("Attempts() < 2 && ResponseCode() == 503", 1, &[503]),
            ("(IsNetworkError() || ResponseCode() == 500) && Attempts() < 4", 3, &[500, 502, 504]),
            ("IsNetworkError()", 10, &[502, 504]),
            ("RequestMethod() == \"POST\" && IsNetworkError()", 0, &[]),
        ] {
            let retry = retry(text).unwrap();
            assert_eq!((retry.attempts, &retry.on_status[..]), (attempts, statuses), "{text}");
        }
        for text in
            ["Attempts()", "ResponseCode() > \"x\"", "NetworkErrorRatio() > 1", "Attempts(1) < 2", "Attempts() <"]
        {
            assert!(retry(text).is_err(), "{text}");
        }
    }
}
