//! The children of a tool, from `/proc`: which hook helmfile is running shows only there, and what a program has started that
//! shares the process group of k3s-boot. Elsewhere than on Linux none are found.

use std::path::Path;

/// A running child of a tool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ChildProcess {
    pub pid: u32,
    /// Its program and arguments.
    pub args: Vec<String>,
}

/// The running children of a process, by PID.
pub(crate) fn children(parent: u32) -> Vec<ChildProcess> {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let mut found: Vec<_> = pids.filter_map(|pid| child(pid, parent)).collect();
    found.sort_unstable_by_key(|child| child.pid);
    found
}

/// The IDs of the children of a process, of their children, and so on.
pub(super) fn descendants(ancestor: u32) -> Vec<u32> {
    let mut found: Vec<_> = children(ancestor).into_iter().map(|child| child.pid).collect();
    let mut next = 0;
    while let Some(pid) = found.get(next).copied() {
        found.extend(children(pid).into_iter().map(|child| child.pid));
        next += 1;
    }
    found
}

fn child(pid: u32, parent: u32) -> Option<ChildProcess> {
    let folder = Path::new("/proc").join(pid.to_string());
    let stat = std::fs::read(folder.join("stat")).ok()?;
    if parent_of(&String::from_utf8_lossy(&stat)) != Some(parent) {
        return None;
    }
    let line = std::fs::read(folder.join("cmdline")).ok()?;
    let line = line.strip_suffix(&[0]).unwrap_or(&line);
    // A process that has exited has none.
    (!line.is_empty()).then(|| ChildProcess { pid, args: words(line) })
}

fn words(line: &[u8]) -> Vec<String> {
    line.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect()
}

/// The parent, from `/proc/PID/stat`.
fn parent_of(stat: &str) -> Option<u32> {
    // proc_pid_stat(5): the name, in parentheses, may hold anything; the state and the parent follow.
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parent_follows_the_name_and_the_state() {
        assert_eq!(parent_of("12 (a) b (c)) S 7 12 12 0"), Some(7));
        for odd in ["", "12 (a", "12 (a) S", "12 (a) S x"] {
            assert_eq!(parent_of(odd), None, "{odd}");
        }
        assert_eq!(words(b"sh\0-c\0\0a b"), ["sh", "-c", "", "a b"]);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn running_children_are_found() {
        use std::io::Read as _;
        let (mut reader, writer) = std::io::pipe().unwrap();
        let mut command = std::process::Command::new("sh");
        let script = "echo; read -r line; :";
        let mut child = command
            .args(["-c", script, "name of a test"])
            .stdin(std::process::Stdio::piped())
            .stdout(writer)
            .spawn()
            .unwrap();
        // Once it has written, it has been executed.
        reader.read_exact(&mut [0]).unwrap();
        let own = children(std::process::id());
        let found = own.iter().find(|one| one.pid == child.id()).unwrap();
        assert_eq!(found.args, ["sh", "-c", script, "name of a test"]);
        assert!(descendants(std::process::id()).contains(&child.id()));
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(children(std::process::id()).iter().all(|one| one.pid != child.id()));
    }
}
