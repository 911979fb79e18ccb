/*
 * Durable files with the owner and the mode of another file, which Lua's io cannot write.
 *
 * Errors: PN_EIO, with the reason in errno.
 */
#ifndef PN_FILE_H
#define PN_FILE_H

#include <sys/types.h>

#include <pn/str.h>

/* Owner and mode of a file. */
struct pn_file_rights {
	uid_t owner; /* (uid_t)-1: the owner of the process's files */
	gid_t group; /* (gid_t)-1: the group of the process's files */
	mode_t mode; /* permission bits, independent of the umask */
};

/* The rights of the file at a path, or of the file that a symbolic link there points to. */
int pn_file_rights(const char *path, struct pn_file_rights *rights);

/*
 * Creates a file, writes the text and syncs it. Never overwrites a file and never follows a
 * symbolic link at the path. Until the rights are set, only the owner may use the file. If the
 * process may not set owner or group, the file keeps those of the process, and if the group differs
 * the mode has no bits for the group. After a failure the file does not exist.
 */
int pn_file_write(const char *path, struct pn_str text, struct pn_file_rights rights);

/* Syncs a directory, and with it the names in it. */
int pn_file_sync_directory(const char *path);

#endif
