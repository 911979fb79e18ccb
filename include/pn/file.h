/*
 * Files that replace others: durable, and with the same owner and mode. What Lua's io lacks.
 *
 * Failures: PN_EIO, and errno tells why. Nothing is followed that is a symbolic link.
 */
#ifndef PN_FILE_H
#define PN_FILE_H

#include <sys/types.h>

#include <pn/stanza.h>

/* Who may do what with a file. */
struct pn_file_rights {
	uid_t owner; /* (uid_t)-1 and (gid_t)-1: as the process makes it */
	gid_t group;
	mode_t mode; /* permission bits, whatever the umask */
};

/* Those of the file at a path; a symbolic link is followed. */
int pn_file_rights(const char *path, struct pn_file_rights *rights);

/*
 * Writes a new file and syncs it; what exists is never overwritten. At no moment has it more rights
 * than in the end: it is made for its owner alone. A process that may not give files away keeps
 * owner or group, and then the mode's bits of the group are cleared where the group is another one.
 * After a failure there is no such file.
 */
int pn_file_write(const char *path, struct pn_str text, struct pn_file_rights rights);

/* Syncs a directory, and with it the names in it. */
int pn_file_sync_directory(const char *path);

#endif
