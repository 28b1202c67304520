//! Small files that are there whole or not at all: keys and certificates. It does not know what is in them.

use std::fs::Permissions;
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

use tempfile::NamedTempFile;

/// Who may read a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Its owner only (mode 0600).
    Owner,
    /// Everybody (mode 0644, less what the umask takes).
    Everybody,
}

/// Makes a folder and those above it; the new ones are open to their owner only. One that exists stays as it is.
///
/// # Errors
/// Those of the file system.
pub fn make_folder(folder: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// Writes a file, on disk before it returns. A reader, or a power cut, sees the old content or the new one.
///
/// # Errors
/// Those of the file system; the old content stands then.
pub fn write(path: &Path, content: &[u8], access: Access) -> io::Result<()> {
    let file = write_beside(path, content, access)?;
    file.persist(path)?;
    sync_folder(folder_of(path))
}

/// Reads a file, or makes it if there is none. When several processes do it at once, one content wins and all return it.
///
/// # Errors
/// Those of the file system, and what `make` fails with.
pub fn read_or_make(path: &Path, access: Access, make: impl FnOnce() -> io::Result<Vec<u8>>) -> io::Result<Vec<u8>> {
    match std::fs::read(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        outcome => return outcome,
    }
    let content = make()?;
    match write_beside(path, &content, access)?.persist_noclobber(path) {
        Ok(_) => {
            sync_folder(folder_of(path))?;
            Ok(content)
        }
        Err(lost) if lost.error.kind() == ErrorKind::AlreadyExists => std::fs::read(path),
        Err(lost) => Err(lost.error),
    }
}

/// A temporary file in the same folder, because a rename is atomic only within one file system.
fn write_beside(path: &Path, content: &[u8], access: Access) -> io::Result<NamedTempFile> {
    let mode = match access {
        Access::Owner => 0o600,
        Access::Everybody => 0o644,
    };
    let mut file = tempfile::Builder::new().permissions(Permissions::from_mode(mode)).tempfile_in(folder_of(path))?;
    file.write_all(content)?;
    file.as_file().sync_all()?;
    Ok(file)
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Without this a power cut may undo the rename.
fn sync_folder(folder: &Path) -> io::Result<()> {
    std::fs::File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use super::{Access, make_folder, read_or_make, write};

    fn names_in(folder: &Path) -> Vec<String> {
        std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn a_file_is_replaced_whole_and_leaves_nothing_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        write(&path, b"one, and long", Access::Owner).unwrap();
        write(&path, b"two", Access::Owner).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(names_in(folder.path()), ["key"]);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn the_first_content_wins() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let racing = || {
            write(&path, b"theirs", Access::Owner)?;
            Ok(b"ours".to_vec())
        };
        assert_eq!(read_or_make(&path, Access::Owner, racing).unwrap(), b"theirs");
        assert_eq!(read_or_make(&path, Access::Owner, || Ok(b"later".to_vec())).unwrap(), b"theirs");
        assert_eq!(names_in(folder.path()), ["key"]);
    }

    #[test]
    fn a_failed_write_keeps_the_old_content() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("no/such/folder/key");
        assert!(write(&missing, b"x", Access::Owner).is_err());
        let path = folder.path().join("key");
        assert!(read_or_make(&path, Access::Owner, || Err(std::io::Error::other("no chance"))).is_err());
        assert!(names_in(folder.path()).is_empty());
    }

    #[test]
    fn folders_are_made_private() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("a/b");
        make_folder(&inner).unwrap();
        make_folder(&inner).unwrap();
        assert_eq!(std::fs::metadata(&inner).unwrap().permissions().mode() & 0o777, 0o700);
    }
}
