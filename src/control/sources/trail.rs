//! Where a path leads, link by link: every name whose change may make it lead elsewhere.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

/// Links that are followed at most, as the kernel does (path_resolution(7)).
const LINKS_MAX: usize = 40;

/// A name in a folder.
pub(super) type TrailStep = (PathBuf, OsString);

/// Adds the steps of `path`: the file itself where it stands in the end, a folder that is not there yet, and each link on the way there, such as `..data` of
/// Kubernetes, `current` of a release, `live/` of certbot.
pub(super) fn follow(path: &Path, steps: &mut BTreeSet<TrailStep>) {
    let mut links = 0;
    let mut at = PathBuf::new();
    // What is still to be walked, the next part last.
    let mut rest: Vec<PathBuf> = parts(path);
    while let Some(part) = rest.pop() {
        let next = at.join(&part);
        let target = std::fs::read_link(&next).ok();
        let is_there = target.is_some() || rest.is_empty() || next.exists();
        let is_step = target.is_some() || rest.is_empty() || !is_there;
        if let (true, Some(name)) = (is_step, part.file_name()) {
            let folder = if at.as_os_str().is_empty() { PathBuf::from(".") } else { at.clone() };
            steps.insert((folder, name.to_owned()));
        }
        match target {
            Some(target) if links < LINKS_MAX => {
                links += 1;
                if target.is_absolute() {
                    at = PathBuf::new();
                }
                rest.extend(parts(&target));
            }
            // What is to come has nowhere to be watched yet.
            _ if !is_there => return,
            _ => at = next,
        }
    }
}

/// The parts of a path, the first one last.
fn parts(path: &Path) -> Vec<PathBuf> {
    let mut parts: Vec<_> = path
        .components()
        .filter(|component| *component != Component::CurDir)
        .map(|component| PathBuf::from(component.as_os_str()))
        .collect();
    parts.reverse();
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn steps(path: &Path, root: &Path) -> Vec<String> {
        let mut steps = BTreeSet::new();
        follow(path, &mut steps);
        let short = |(folder, name): &TrailStep| {
            let folder = folder.strip_prefix(root).unwrap_or(folder);
            folder.join(name).to_str().unwrap().to_owned()
        };
        steps.iter().map(short).collect()
    }

    #[test]
    fn every_link_on_the_way_is_a_step() {
        let root = std::env::temp_dir().join(format!("ringress-trail-{}", std::process::id()));
        let root = &root;
        std::fs::create_dir_all(root.join("v1/tls")).unwrap();
        std::fs::write(root.join("v1/r.toml"), "").unwrap();
        // A release.
        symlink("v1", root.join("current")).unwrap();
        assert_eq!(steps(&root.join("current/r.toml"), root), ["current", "v1/r.toml"]);
        // A link to a file elsewhere, by its whole path.
        symlink(root.join("v1/r.toml"), root.join("own.toml")).unwrap();
        assert_eq!(steps(&root.join("own.toml"), root), ["own.toml", "v1/r.toml"]);
        // Kubernetes.
        std::fs::create_dir_all(root.join("map/..2026")).unwrap();
        symlink("..2026", root.join("map/..data")).unwrap();
        symlink("..data/a.toml", root.join("map/a.toml")).unwrap();
        assert_eq!(steps(&root.join("map/a.toml"), root), ["map/..data", "map/a.toml", "map/..2026/a.toml"]);
        // Nothing there yet, and a circle.
        assert_eq!(steps(&root.join("none.toml"), root), ["none.toml"]);
        symlink("b", root.join("a")).unwrap();
        symlink("a", root.join("b")).unwrap();
        assert_eq!(steps(&root.join("a"), root), ["a", "b"]);
        assert_eq!(steps(Path::new("r.toml"), root), ["./r.toml"]);
        assert_eq!(steps(&root.join("v3/tls/a.crt"), root), ["v3"], "a folder that may come");
        std::fs::remove_dir_all(root).unwrap();
    }
}
