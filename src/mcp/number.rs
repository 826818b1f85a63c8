//! Numbers that every reader takes for the same one.
//!
//! JSON does not say what a number is. JavaScript reads doubles; Python reads integers of any length and doubles; others read
//! decimals. A number is accepted if all of these agree: an integer within ±(2^53 - 1), or a decimal that is exactly what the
//! nearest double prints as. `-0` is refused as well: some keep the sign, some do not.

use super::fault::Fault;
use serde_json::Number;
use std::fmt::Write;

/// The largest integer that a double holds together with its neighbours (ECMAScript's `MAX_SAFE_INTEGER`).
pub(super) const MAX_SAFE: i64 = (1 << 53) - 1;

const TWO_READINGS: Fault = Fault::ambiguous("a number is read differently by different readers");

/// A decimal of so many characters without an exponent has at most 15 digits: no two of these have one nearest double, so that it is
/// what the double prints as.
const SURE: usize = 16;

/// Longer ones are never what a double prints as.
const LONGEST: usize = 400;

/// The value of a text that the grammar accepts as a number.
pub(super) fn read(text: &str) -> Result<Number, Fault> {
    if text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-') {
        let integer = text.parse::<i64>().map_err(|_| TWO_READINGS)?;
        return match integer.unsigned_abs() <= MAX_SAFE.unsigned_abs() && text != "-0" {
            true => Ok(integer.into()),
            false => Err(TWO_READINGS),
        };
    }
    let value: f64 = text.parse().map_err(|_| TWO_READINGS)?;
    if text.len() > LONGEST || (value == 0.0 && text.starts_with('-')) {
        return Err(TWO_READINGS);
    }
    if text.len() <= SURE && text.bytes().all(|byte| byte.is_ascii_digit() || b"-.".contains(&byte)) {
        return Number::from_f64(value).ok_or(TWO_READINGS);
    }
    let mut printed = String::with_capacity(32);
    write!(printed, "{value:e}").map_err(|_| TWO_READINGS)?;
    match Decimal::of(text).is_some_and(|written| Some(written) == Decimal::of(&printed)) {
        true => Number::from_f64(value).ok_or(TWO_READINGS),
        false => Err(TWO_READINGS),
    }
}

/// The value of a header that repeats an integer.
pub(super) fn of_text(text: &str) -> Option<f64> {
    let plain = |byte: u8| byte.is_ascii_digit() || b"-.".contains(&byte);
    // Before it is parsed: a long text takes long.
    if text.len() > LONGEST || !text.bytes().all(plain) {
        return None;
    }
    text.parse().ok().filter(|value: &f64| value.is_finite())
}

/// What a decimal text says: its digits without zeros at either end, and the power of ten of the last one.
#[derive(PartialEq, Eq)]
struct Decimal {
    negative: bool,
    digits: String,
    exponent: i64,
}

impl Decimal {
    fn of(text: &str) -> Option<Self> {
        let (negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all = format!("{whole}{fraction}");
        let digits = all.trim_start_matches('0').trim_end_matches('0');
        if digits.is_empty() {
            return Some(Self { negative, digits: String::new(), exponent: 0 });
        }
        let dropped = all.len() - all.trim_end_matches('0').len();
        let exponent = exponent.parse::<i64>().ok()?.checked_sub(i64::try_from(fraction.len()).ok()?)?;
        let exponent = exponent.checked_add(i64::try_from(dropped).ok()?)?;
        Some(Self { negative, digits: digits.to_owned(), exponent })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_with_one_reading() {
        for text in [
            "0",
            "1",
            "-1",
            "9007199254740991",
            "-9007199254740991",
            "0.1",
            "1.0",
            "1e2",
            "1E+2",
            "2.5e-3",
            "0.0",
            "1e20",
            "1.7976931348623157e308",
            "5e-324",
            "123456789012345680000.0",
            "0.30000000000000004",
            "100.00",
        ] {
            let number = read(text).unwrap_or_else(|fault| panic!("{text}: {fault}"));
            assert_eq!(Some(number), serde_json::from_str(text).ok(), "{text}");
        }
    }

    #[test]
    fn numbers_with_two_readings() {
        for text in [
            "9007199254740992",
            "-9007199254740992",
            "18446744073709551615",
            "1e400",
            "-1e400",
            "1e-400",
            "-0",
            "-0.0",
            "-0e3",
            "0.1000000000000000055",
            "9007199254740993.0",
            "1e99999999999999999999",
            "3.14159265358979323846",
        ] {
            assert_eq!(read(text), Err(TWO_READINGS), "{text}");
        }
        assert!(read(&format!("0.{}1", "0".repeat(500))).is_err());
    }

    proptest::proptest! {
        /// The short way is only shorter.
        #[test]
        fn short_decimals_are_what_their_doubles_print_as(text in "-?(0|[1-9][0-9]{0,8})\\.[0-9]{1,14}") {
            let text = text.get(..text.len().min(SURE)).unwrap().trim_end_matches('.');
            let value: f64 = text.parse().unwrap();
            proptest::prop_assume!(text.contains('.') && value != 0.0);
            proptest::prop_assert!(Decimal::of(text) == Decimal::of(&format!("{value:e}")), "{text}");
            proptest::prop_assert!(read(text).is_ok());
        }
    }
}
