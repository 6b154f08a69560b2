//! `k3s-boot version`: the versions of k3s-boot and of the programs that it runs.

use super::Session;
use crate::base::error::Error;
use crate::base::scratch::Scratch;
use crate::gather;
use crate::report;
use crate::report::version::VersionReport;

/// Prints the versions; returns the exit code.
///
/// # Errors
///
/// Writing to stdout fails.
pub(crate) async fn version(session: &Session<'_>) -> std::io::Result<u8> {
    let settings = session.settings;
    match make(session).await {
        Ok(report) if settings.json => report::print(&report, settings.guard)?,
        Ok(report) => report::print_text(report.text(), settings.guard)?,
        Err(error) => {
            session.log_failure(&error, None);
            return Ok(error.exit_code(false));
        }
    }
    Ok(0)
}

async fn make(session: &Session<'_>) -> Result<VersionReport, Error> {
    let files = gather::files_for_versions(session.settings);
    let scratch = Scratch::new(&session.settings.temp)?;
    let tools = session.toolbox(&files, &scratch)?;
    let versions = tools.versions(session.settings.cache.as_deref(), false).await?;
    Ok(VersionReport::new(&files.programs, &versions))
}
