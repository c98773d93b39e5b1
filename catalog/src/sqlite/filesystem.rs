//! Refuses network file systems: SQLite's write-ahead log lives in memory that all processes share, which no two hosts
//! can, and their locks often only pretend.

use std::fs;
use std::path::{Path, PathBuf};

use cafe_pipeline::catalog::CatalogError;

/// Magic numbers (`f_type` of `statfs`) of file systems that several hosts can mount at once.
const SHARED: &[(u32, &str)] = &[
    (0x6969, "nfs"),
    (0x517b, "smb"),
    (0xff53_4d42, "cifs"),
    (0xfe53_4d42, "smb2"),
    (0x0102_1997, "9p"),
    (0x5346_414f, "afs"),
    (0x6b41_4653, "afs"),
    (0x7375_7245, "coda"),
    (0x564c, "ncp"),
    (0x0bd0_0bd0, "lustre"),
    (0x4750_4653, "gpfs"),
    (0x00c3_6400, "ceph"),
    (0x2003_0528, "pvfs2"),
    (0x1983_0326, "beegfs"),
    (0x0116_1970, "gfs2"),
    (0x7461_636f, "ocfs2"),
    (0x786f_4256, "vboxsf"),
    (0xbacb_acbc, "vmhgfs"),
];

/// Magic number of everything mounted through FUSE: what lies behind is told by the mount's type only.
const FUSE: u32 = 0x6573_5546;

/// Types of FUSE mounts behind which lies a local disk, or the host of a virtual machine.
const LOCAL_FUSE: &[&str] =
    &["fuseblk", "fuse.ntfs", "fuse.ntfs-3g", "fuse.fuse-overlayfs", "fuse.bindfs", "fuse.mergerfs", "fuse.gocryptfs"];

/// What a file system is to us.
#[derive(Debug, PartialEq, Eq)]
enum Kind {
    Local,
    Shared(&'static str),
    Fuse,
}

fn classify(magic: u32) -> Kind {
    if magic == FUSE {
        return Kind::Fuse;
    }
    SHARED.iter().find(|(number, _)| *number == magic).map_or(Kind::Local, |(_, name)| Kind::Shared(name))
}

/// Whether a FUSE mount of this type may be shared between hosts. One that cannot be named is given the benefit of the
/// doubt.
fn is_shared_fuse(mount_type: &str) -> bool {
    mount_type.starts_with("fuse.") && !LOCAL_FUSE.contains(&mount_type)
}

/// The type of the innermost mount that holds `path`, from the text of `/proc/self/mountinfo`.
fn mount_type<'a>(mountinfo: &'a str, path: &Path) -> Option<&'a str> {
    let mounts = mountinfo.lines().filter_map(|line| {
        let (mount, rest) = line.split_once(" - ")?;
        // Blanks in paths are written as octal escapes.
        let point = mount.split(' ').nth(4)?.replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\");
        Some((PathBuf::from(point), rest.split(' ').next()?))
    });
    // Of two mounts at one place, the later hides the earlier.
    mounts
        .filter(|(point, _)| path.starts_with(point))
        .max_by_key(|(point, _)| point.components().count())
        .map(|(_, mount_type)| mount_type)
}

/// Refuses a folder on a network file system.
///
/// # Errors
/// [`CatalogError::Unusable`] for a folder on a network file system, or one that cannot be looked at.
pub(super) fn check(folder: &Path) -> Result<(), CatalogError> {
    let stat = rustix::fs::statfs(folder).map_err(|error| CatalogError::Unusable {
        message: format!("{}: {error}", folder.display()),
        help: "name a folder that this user can read and write".to_owned(),
    })?;
    let name = match classify(magic(stat.f_type)) {
        Kind::Local => return Ok(()),
        Kind::Shared(name) => name.to_owned(),
        Kind::Fuse => {
            let mountinfo = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
            let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
            match mount_type(&mountinfo, &folder) {
                Some(name) if is_shared_fuse(name) => name.to_owned(),
                _ => return Ok(()),
            }
        }
    };
    Err(CatalogError::Unusable {
        message: format!(
            "the catalog would lie on a network file system ({name}, at {}), where SQLite loses data",
            folder.display()
        ),
        help: "put the catalog on a local disk: `catalog = \"sqlite:///local/path/catalog.db\"`; the shards may stay \
               where they are"
            .to_owned(),
    })
}

/// The low 32 bits: the field is signed or wider on some architectures, the magic numbers are neither.
fn magic(f_type: rustix::fs::FsWord) -> u32 {
    #[expect(clippy::cast_sign_loss, clippy::cast_possible_truncation, reason = "the low 32 bits are what is meant")]
    let magic = f_type as u32;
    magic
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_file_systems_are_known_by_magic_number() {
        for (magic, name) in [(0x6969, "nfs"), (0xff53_4d42, "cifs"), (0x0bd0_0bd0, "lustre"), (0x4750_4653, "gpfs")] {
            assert_eq!(classify(magic), Kind::Shared(name));
        }
        assert_eq!(classify(0x0102_1997), Kind::Shared("9p"));
        assert_eq!(classify(0x6573_5546), Kind::Fuse);
        // ext4, xfs, btrfs, tmpfs, overlayfs, zfs.
        for magic in [0xef53, 0x5846_5342, 0x9123_683e, 0x0102_1994, 0x794c_7630, 0x2fc1_2fc1] {
            assert_eq!(classify(magic), Kind::Local);
        }
    }

    #[test]
    fn a_wide_or_signed_field_is_read_the_same() {
        assert_eq!(magic(0x6969), 0x6969);
        assert_eq!(classify(magic(0xff53_4d42_u32 as rustix::fs::FsWord)), Kind::Shared("cifs"));
    }

    #[test]
    fn fuse_is_told_by_the_innermost_mount() {
        let mountinfo = "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
                         40 22 0:44 / /mnt/far\\040away rw,nosuid shared:7 - fuse.sshfs user@host: rw\n\
                         41 22 8:17 / /mnt/stick rw - fuseblk /dev/sdb1 rw\n";
        let of = |path: &str| mount_type(mountinfo, Path::new(path)).unwrap();
        assert_eq!(of("/mnt/far away/project"), "fuse.sshfs");
        assert_eq!(of("/mnt/stick"), "fuseblk");
        assert_eq!(of("/mnt/farther"), "ext4");
        assert!(is_shared_fuse("fuse.sshfs") && is_shared_fuse("fuse.glusterfs"));
        assert!(!is_shared_fuse("fuseblk") && !is_shared_fuse("fuse.ntfs-3g") && !is_shared_fuse("virtiofs"));
    }

    #[test]
    fn a_local_folder_passes_and_a_missing_one_is_named() {
        let folder = tempfile::tempdir().unwrap();
        check(folder.path()).unwrap();
        let error = check(&folder.path().join("missing")).unwrap_err();
        assert!(error.to_string().contains("missing"), "{error}");
    }
}
