//! Results of reading: a value, or the reason why it is unknown.

use crate::base::error::Error;

/// A value that was read, or the reason why it is unknown.
pub(crate) type Fact<T> = Result<T, String>;

/// The last second that RFC 3339 can express (year 9999), in seconds since 1970.
pub(crate) const MAX_TIMESTAMP: u64 = 253_402_300_799;

/// Turns a failed read into an unknown value; an interruption stays an error.
///
/// # Errors
///
/// k3s-boot was interrupted.
pub(crate) fn known<T>(answer: Result<T, Error>) -> Result<Fact<T>, Error> {
    match answer {
        Ok(answer) => Ok(Ok(answer)),
        Err(error) if error.is_interruption() => Err(error),
        // Only the reason: the transcript contains the command or request.
        Err(Error::Tool { reason, .. } | Error::Api { reason, .. }) => Ok(Err(reason)),
        Err(error) => Ok(Err(error.to_string())),
    }
}
