//! The processes that a process has started, and those that they have started.

use nix::unistd::Pid;

/// The running descendants of a process, from `/proc`; none where there is no `/proc`.
pub(super) fn descendants(ancestor: Pid) -> Vec<Pid> {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let parents = processes.filter_map(|entry| {
        let process = entry.file_name().to_str()?.parse().ok()?;
        let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
        Some((Pid::from_raw(process), parent(&stat)?))
    });
    below(ancestor, &parents.collect::<Vec<_>>())
}

/// The parent, from `/proc/PID/stat`. The name, in parentheses, may hold anything, and the parent is the second field after it
/// (`proc_pid_stat(5)`).
fn parent(stat: &str) -> Option<Pid> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(1)?.parse().ok().map(Pid::from_raw)
}

/// All processes below one, from pairs of process and parent.
fn below(ancestor: Pid, parents: &[(Pid, Pid)]) -> Vec<Pid> {
    let mut found = vec![ancestor];
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        let children = parents.iter().filter(|(child, of)| *of == parent && !found.contains(child));
        let children: Vec<_> = children.map(|(child, _)| *child).collect();
        found.extend(children);
        next += 1;
    }
    found.split_off(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descendants_are_found_at_any_depth() {
        let pid = Pid::from_raw;
        let parents =
            [(3, 2), (2, 1), (5, 4), (6, 2), (1, 1), (7, 6)].map(|(child, of)| (pid(child), pid(of)));
        assert_eq!(below(pid(2), &parents), [3, 6, 7].map(pid));
        assert_eq!(below(pid(1), &parents), [2, 3, 6, 7].map(pid));
        assert_eq!(below(pid(9), &parents), []);
        assert_eq!(parent("12 (a) b) S 34 12 12 0"), Some(pid(34)));
        for stat in ["", "12 (a", "12 (a)", "12 (a) S x"] {
            assert_eq!(parent(stat), None, "{stat}");
        }
    }
}
