//! What could be found out, and what could not.

use crate::base::error::Error;

/// Something that could be found out, or why it could not.
pub type Known<T> = Result<T, String>;

/// The last second that can be written as RFC 3339, in seconds since 1970: of the year 9999.
pub const LATEST: u64 = 253_402_300_799;

/// An answer that did not come is unknown; that k3s-boot was told to stop is no answer.
///
/// # Errors
///
/// k3s-boot was told to stop.
pub fn known<T>(answer: Result<T, Error>) -> Result<Known<T>, Error> {
    match answer {
        Ok(answer) => Ok(Ok(answer)),
        Err(error) if error.is_interruption() => Err(error),
        // The tool's own words; what it was asked for stands in the transcript.
        Err(Error::Tool { reason, .. } | Error::Api { reason, .. }) => Ok(Err(reason)),
        Err(error) => Ok(Err(error.to_string())),
    }
}
