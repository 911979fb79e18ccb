/* Files for pn/file.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <sys/stat.h>
#include <unistd.h>

#include <pn/err.h>
#include <pn/file.h>

int pn_file_rights(const char *path, struct pn_file_rights *rights) {
	struct stat found;
	if (stat(path, &found) != 0)
		return PN_EIO;
	*rights = (struct pn_file_rights){found.st_uid, found.st_gid, found.st_mode & 07777};
	return PN_OK;
}

/* Returns 0, or -1 with errno. */
static int write_all(int fd, struct pn_str text) {
	while (text.len > 0) {
		const ssize_t written = write(fd, text.bytes, text.len);
		if (written < 0 && errno != EINTR)
			return -1;
		if (written > 0) {
			text.bytes += written;
			text.len -= (size_t)written;
		}
	}
	return 0;
}

/* Owner and group are set separately: only root may set the owner, but a process may set a group
 * that it is a member of. */
static int set_rights(int fd, struct pn_file_rights rights) {
	const uid_t same_owner = (uid_t)-1;
	const gid_t same_group = (gid_t)-1;
	struct stat made;
	if (fchown(fd, same_owner, rights.group) != 0 && errno != EPERM)
		return -1;
	if (fchown(fd, rights.owner, same_group) != 0 && errno != EPERM)
		return -1;
	if (fstat(fd, &made) != 0)
		return -1;
	const bool other_group = rights.group != same_group && made.st_gid != rights.group;
	return fchmod(fd, other_group ? rights.mode & ~(mode_t)S_IRWXG : rights.mode);
}

int pn_file_write(const char *path, struct pn_str text, struct pn_file_rights rights) {
	const int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return PN_EIO;
	bool done = write_all(fd, text) == 0 && set_rights(fd, rights) == 0 && fsync(fd) == 0;
	int why = errno;
	if (close(fd) != 0 && done) {
		done = false;
		why = errno;
	}
	if (done)
		return PN_OK;
	unlink(path);
	errno = why;
	return PN_EIO;
}

int pn_file_sync_directory(const char *path) {
	const int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return PN_EIO;
	const bool done = fsync(fd) == 0;
	const int why = errno;
	close(fd);
	errno = why;
	return done ? PN_OK : PN_EIO;
}
