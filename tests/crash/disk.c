#undef _FORTIFY_SOURCE /* its wrappers have the names that are defined here */
#include "disk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { PATH_MOST = 512, SECTORS = 2 };

static const size_t SECTOR[SECTORS] = {512, 4096};

static struct {
	struct tape *tape; /* NULL: no recording */
	char path[PATH_MOST];
	ino_t directory; /* 0: not there yet */
	ino_t parent;
	unsigned boot;
	pthread_t main;
	bool gated;
	pthread_mutex_t mutex;
	pthread_cond_t change;
} disk = {.mutex = PTHREAD_MUTEX_INITIALIZER, .change = PTHREAD_COND_INITIALIZER};

static void require(bool condition, const char *what) {
	if (condition)
		return;
	fprintf(stderr, "disk: %s\n", what);
	abort();
}

/* ---- Recording ---- */

static void copy_name(char to[DISK_NAME], const char *name) {
	require(strlen(name) < DISK_NAME, "a name is too long");
	strcpy(to, name);
}

/* The name of a file in the directory, or NULL for a path outside of it. */
static const char *name_in_directory(int at, const char *path) {
	struct stat st;
	const char *const slash = strrchr(path, '/');
	if (disk.tape == NULL)
		return NULL;
	if (slash != NULL) {
		const size_t len = strlen(disk.path);
		return (size_t)(slash - path) == len && memcmp(path, disk.path, len) == 0
			       ? slash + 1
			       : NULL;
	}
	const bool inside = at >= 0 && fstat(at, &st) == 0 && st.st_ino == disk.directory;
	return inside ? path : NULL;
}

static int file_of(ino_t inode) {
	for (int i = disk.tape->file_count - 1; i >= 0; i--) {
		if (disk.tape->inodes[i] == inode)
			return i;
	}
	return -1;
}

static int file_of_fd(int fd) {
	struct stat st;
	return disk.tape != NULL && fstat(fd, &st) == 0 ? file_of(st.st_ino) : -1;
}

/* The caller holds the mutex, and there is a tape. */
static struct disk_op *note(enum disk_kind kind, int file) {
	require(disk.tape->count < DISK_OPS, "the tape is full");
	struct disk_op *op = &disk.tape->ops[disk.tape->count];
	*op = (struct disk_op){.kind = kind, .file = file};
	disk.tape->count++;
	return op;
}

static void note_write(int fd, const void *bytes, size_t size, off_t at) {
	pthread_mutex_lock(&disk.mutex);
	const int file = file_of_fd(fd);
	if (file >= 0) {
		struct disk_op *op = note(DISK_WRITE, file);
		op->bytes = malloc(size);
		require(op->bytes != NULL, "no memory");
		memcpy(op->bytes, bytes, size);
		op->size = size;
		op->at = at;
	}
	pthread_mutex_unlock(&disk.mutex);
}

static void note_size(int fd) {
	struct stat st;
	pthread_mutex_lock(&disk.mutex);
	const int file = file_of_fd(fd);
	if (file >= 0 && fstat(fd, &st) == 0)
		note(DISK_RESIZE, file)->at = st.st_size;
	pthread_mutex_unlock(&disk.mutex);
}

static int new_file(ino_t inode) {
	struct tape *const tape = disk.tape;
	require(tape->file_count < DISK_FILES, "too many files");
	tape->inodes[tape->file_count] = inode;
	return tape->file_count++;
}

static void note_names(enum disk_kind kind, ino_t inode, const char *name, const char *to) {
	pthread_mutex_lock(&disk.mutex);
	struct disk_op *op = note(kind, inode != 0 ? file_of(inode) : -1);
	copy_name(op->name, name);
	if (to != NULL)
		copy_name(op->to, to);
	pthread_mutex_unlock(&disk.mutex);
}

static void note_new_file(ino_t inode, const char *name) {
	pthread_mutex_lock(&disk.mutex);
	copy_name(note(DISK_CREATE, new_file(inode))->name, name);
	pthread_mutex_unlock(&disk.mutex);
}

/* ---- Replacements of libc's functions. This does not simulate a failing disk: calls of the kernel
 * succeed. ---- */

#define EXPORTED __attribute__((visibility("default")))

/* The content of /proc is the same at every start of the simulated machine. */
static int open_boot_id(void) {
	char text[64];
	const int fd = memfd_create("boot_id", MFD_CLOEXEC);
	snprintf(text, sizeof(text), "%08x-0000-4000-8000-000000000000\n", disk.boot + 1);
	require(fd >= 0 && syscall(SYS_write, fd, text, strlen(text)) > 0, "no boot id");
	require(lseek(fd, 0, SEEK_SET) == 0, "no boot id");
	return fd;
}

static int open_noted(int at, const char *path, int flags, mode_t mode) {
	struct stat st;
	if (strcmp(path, "/proc/sys/kernel/random/boot_id") == 0)
		return open_boot_id();
	const char *const name = (flags & O_CREAT) != 0 ? name_in_directory(at, path) : NULL;
	const bool existed = name == NULL || fstatat(at, path, &st, AT_SYMLINK_NOFOLLOW) == 0;
	const int fd = (int)syscall(SYS_openat, at, path, flags, mode);
	if (fd < 0 || existed)
		return fd;
	require(fstat(fd, &st) == 0, "no inode");
	note_new_file(st.st_ino, name);
	return fd;
}

EXPORTED int open(const char *path, int flags, ...) {
	va_list more;
	va_start(more, flags);
	const mode_t mode = (flags & O_CREAT) != 0 ? va_arg(more, mode_t) : 0;
	va_end(more);
	return open_noted(AT_FDCWD, path, flags, mode);
}

EXPORTED int openat(int at, const char *path, int flags, ...) {
	va_list more;
	va_start(more, flags);
	const mode_t mode = (flags & O_CREAT) != 0 ? va_arg(more, mode_t) : 0;
	va_end(more);
	return open_noted(at, path, flags, mode);
}

EXPORTED ssize_t pwrite(int fd, const void *bytes, size_t size, off_t at) {
	const ssize_t done = syscall(SYS_pwrite64, fd, bytes, size, at);
	if (done > 0)
		note_write(fd, bytes, (size_t)done, at);
	return done;
}

EXPORTED ssize_t write(int fd, const void *bytes, size_t size) {
	const off_t at = disk.tape != NULL ? lseek(fd, 0, SEEK_CUR) : 0;
	const ssize_t done = syscall(SYS_write, fd, bytes, size);
	if (done > 0)
		note_write(fd, bytes, (size_t)done, at);
	return done;
}

EXPORTED ssize_t writev(int fd, const struct iovec *parts, int count) {
	ssize_t sum = 0;
	for (int i = 0; i < count; i++) {
		const ssize_t done = write(fd, parts[i].iov_base, parts[i].iov_len);
		if (done < 0)
			return sum > 0 ? sum : done;
		sum += done;
		if ((size_t)done < parts[i].iov_len)
			break;
	}
	return sum;
}

EXPORTED ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t at) {
	ssize_t sum = 0;
	for (int i = 0; i < count; i++) {
		const ssize_t done = pwrite(fd, parts[i].iov_base, parts[i].iov_len, at + sum);
		if (done < 0)
			return sum > 0 ? sum : done;
		sum += done;
		if ((size_t)done < parts[i].iov_len)
			break;
	}
	return sum;
}

EXPORTED int ftruncate(int fd, off_t size) {
	const int result = (int)syscall(SYS_ftruncate, fd, size);
	if (result == 0)
		note_size(fd);
	return result;
}

EXPORTED int fallocate(int fd, int mode, off_t from, off_t size) {
	const int result = (int)syscall(SYS_fallocate, fd, mode, from, size);
	if (result == 0 && (mode & FALLOC_FL_KEEP_SIZE) == 0)
		note_size(fd);
	return result;
}

static void pass_gate(void) {
	pthread_mutex_lock(&disk.mutex);
	while (disk.gated && !pthread_equal(pthread_self(), disk.main))
		pthread_cond_wait(&disk.change, &disk.mutex);
	pthread_mutex_unlock(&disk.mutex);
}

static void note_sync(ino_t inode, size_t before) {
	if (disk.tape == NULL)
		return; /* the test is over, and this was a thread */
	if (inode == disk.directory)
		note(DISK_SYNC_DIRECTORY, -1);
	else if (inode == disk.parent)
		note(DISK_SYNC_PARENT, -1);
	else if (file_of(inode) >= 0)
		note(DISK_SYNC, file_of(inode))->before = before;
}

/* The real disk need not sync: its power stays on. */
static int sync_noted(int fd) {
	struct stat st;
	require(fstat(fd, &st) == 0, "no file to sync");
	pthread_mutex_lock(&disk.mutex);
	const size_t before = disk.tape != NULL ? disk.tape->count : 0;
	pthread_mutex_unlock(&disk.mutex);
	pass_gate();
	pthread_mutex_lock(&disk.mutex);
	note_sync(st.st_ino, before);
	pthread_mutex_unlock(&disk.mutex);
	return 0;
}

EXPORTED int fsync(int fd) {
	return sync_noted(fd);
}

EXPORTED int fdatasync(int fd) {
	return sync_noted(fd);
}

EXPORTED int renameat(int from_at, const char *from, int to_at, const char *to) {
	struct stat st;
	const char *const name = name_in_directory(from_at, from);
	const char *const new_name = name_in_directory(to_at, to);
	require(name == NULL || fstatat(from_at, from, &st, 0) == 0, "no file to rename");
	const int result = (int)syscall(SYS_renameat2, from_at, from, to_at, to, 0);
	if (result != 0 || name == NULL || new_name == NULL)
		return result;
	note_names(DISK_RENAME, st.st_ino, name, new_name);
	return 0;
}

EXPORTED int rename(const char *from, const char *to) {
	return renameat(AT_FDCWD, from, AT_FDCWD, to);
}

EXPORTED int unlinkat(int at, const char *path, int flags) {
	const char *const name = name_in_directory(at, path);
	const int result = (int)syscall(SYS_unlinkat, at, path, flags);
	if (result == 0 && name != NULL)
		note_names(DISK_UNLINK, 0, name, NULL);
	return result;
}

EXPORTED int unlink(const char *path) {
	return unlinkat(AT_FDCWD, path, 0);
}

EXPORTED int mkdir(const char *path, mode_t mode) {
	struct stat st;
	const int result = (int)syscall(SYS_mkdirat, AT_FDCWD, path, mode);
	if (result != 0 || disk.tape == NULL || strcmp(path, disk.path) != 0)
		return result;
	require(stat(path, &st) == 0, "no directory");
	disk.directory = st.st_ino;
	note(DISK_MAKE, -1);
	return 0;
}

/* ---- Tapes ---- */

static struct disk_bytes read_file(int directory, const char *name) {
	struct stat st;
	const int fd = (int)syscall(SYS_openat, directory, name, O_RDONLY | O_CLOEXEC, 0);
	require(fd >= 0 && fstat(fd, &st) == 0, "cannot read a file");
	struct disk_bytes file = {malloc((size_t)st.st_size + 1), (size_t)st.st_size};
	require(file.bytes != NULL && pread(fd, file.bytes, file.size, 0) == st.st_size,
		"cannot read a file");
	close(fd);
	return file;
}

static void note_beginning(struct tape *tape, const char *directory) {
	struct stat st;
	DIR *entries = opendir(directory);
	tape->existed = entries != NULL;
	if (entries == NULL)
		return;
	require(fstat(dirfd(entries), &st) == 0, "no directory");
	disk.directory = st.st_ino;
	for (struct dirent *entry = readdir(entries); entry != NULL; entry = readdir(entries)) {
		if (entry->d_name[0] == '.')
			continue;
		require(fstatat(dirfd(entries), entry->d_name, &st, 0) == 0, "no file");
		struct disk_entry *const made = &tape->entries[tape->entry_count++];
		made->file = new_file(st.st_ino);
		copy_name(made->name, entry->d_name);
		tape->files[made->file] = read_file(dirfd(entries), entry->d_name);
	}
	closedir(entries);
}

void disk_record(struct tape *tape, const char *directory) {
	struct stat st;
	char *const slash = strrchr(directory, '/');
	require(slash != NULL && strlen(directory) < PATH_MOST, "a path is wanted");
	strcpy(disk.path, directory);
	disk.path[slash - directory] = '\0';
	require(stat(disk.path, &st) == 0, "no parent directory");
	disk.parent = st.st_ino;
	disk.directory = 0;
	disk.main = pthread_self();
	strcpy(disk.path, directory);
	memset(tape, 0, sizeof(*tape));
	disk.tape = tape;
	note_beginning(tape, directory);
}

void disk_stop(void) {
	pthread_mutex_lock(&disk.mutex);
	disk.tape = NULL;
	pthread_mutex_unlock(&disk.mutex);
}

void tape_free(struct tape *tape) {
	for (size_t i = 0; i < tape->count; i++)
		free(tape->ops[i].bytes);
	for (int i = 0; i < tape->file_count; i++)
		free(tape->files[i].bytes);
	memset(tape, 0, sizeof(*tape));
}

void disk_boot(void) {
	disk.boot++;
}

void disk_gate(bool closed) {
	pthread_mutex_lock(&disk.mutex);
	disk.gated = closed;
	pthread_cond_broadcast(&disk.change);
	pthread_mutex_unlock(&disk.mutex);
}

/* ---- Cutting ---- */

/* The content of the disk at a moment, and further changes of which a part may be there. */
struct moment {
	const struct tape *tape;
	struct cut cut;
	uint64_t random;
	unsigned keep; /* percentage of the changes without a sync that are there */
	size_t sector;
	bool made;      /* the directory is there */
	bool may_exist; /* or may be */
	struct disk_bytes files[DISK_FILES];
	struct disk_entry entries[DISK_FILES];
	int entry_count;
	bool pending[DISK_OPS];
};

static unsigned draw(struct moment *m, unsigned below) {
	m->random ^= m->random << 13;
	m->random ^= m->random >> 7;
	m->random ^= m->random << 17;
	return (unsigned)((m->random >> 16) % below);
}

static bool is_kept(struct moment *m) {
	return draw(m, 100) < m->keep;
}

static void resize(struct disk_bytes *file, size_t size) {
	if (size > file->size) {
		file->bytes = realloc(file->bytes, size);
		require(file->bytes != NULL, "no memory");
		memset(file->bytes + file->size, 0, size - file->size);
	}
	file->size = size;
}

static void put_bytes(struct disk_bytes *file, const struct disk_op *op, size_t from, size_t to) {
	if ((size_t)op->at + to > file->size)
		resize(file, (size_t)op->at + to);
	memcpy(file->bytes + op->at + from, op->bytes + from, to - from);
}

static void apply_change(struct disk_bytes *file, const struct disk_op *op) {
	if (op->kind == DISK_RESIZE)
		resize(file, (size_t)op->at);
	else
		put_bytes(file, op, 0, op->size);
}

static void set_entry(struct moment *m, const char *name, int file) {
	for (int i = 0; i < m->entry_count; i++) {
		if (strcmp(m->entries[i].name, name) == 0) {
			m->entries[i].file = file;
			return;
		}
	}
	require(m->entry_count < DISK_FILES, "too many names");
	copy_name(m->entries[m->entry_count].name, name);
	m->entries[m->entry_count++].file = file;
}

static void apply_name(struct moment *m, const struct disk_op *op) {
	set_entry(m, op->name, op->kind == DISK_CREATE ? op->file : -1);
	if (op->kind == DISK_RENAME)
		set_entry(m, op->to, op->file);
}

static bool is_name(const struct disk_op *op) {
	return op->kind == DISK_CREATE || op->kind == DISK_RENAME || op->kind == DISK_UNLINK;
}

static bool is_change(const struct disk_op *op, int file) {
	return (op->kind == DISK_WRITE || op->kind == DISK_RESIZE) && op->file == file;
}

static void sync_names(struct moment *m, size_t end) {
	for (size_t i = 0; i < end; i++) {
		if (m->pending[i] && is_name(&m->tape->ops[i])) {
			apply_name(m, &m->tape->ops[i]);
			m->pending[i] = false;
		}
	}
}

static void sync_file(struct moment *m, int file, size_t end) {
	for (size_t i = 0; i < end; i++) {
		if (m->pending[i] && is_change(&m->tape->ops[i], file)) {
			apply_change(&m->files[file], &m->tape->ops[i]);
			m->pending[i] = false;
		}
	}
}

static void pass(struct moment *m, size_t at) {
	const struct disk_op *op = &m->tape->ops[at];
	const bool done = at < m->cut.at;
	m->pending[at] = true;
	if (op->kind == DISK_MAKE)
		m->may_exist = true;
	else if (op->kind == DISK_SYNC_PARENT && done && !m->cut.no_name_syncs)
		m->made = m->may_exist;
	else if (op->kind == DISK_SYNC_DIRECTORY && done && !m->cut.no_name_syncs)
		sync_names(m, at);
	else if (op->kind == DISK_SYNC && done && !m->cut.no_syncs)
		sync_file(m, op->file, op->before);
}

/* Of a write without a sync, each sector is there or not. */
static void tear(struct moment *m, struct disk_bytes *file, const struct disk_op *op) {
	for (size_t from = 0; from < op->size;) {
		const size_t sector = ((size_t)op->at + from) / m->sector;
		const size_t end = (sector + 1) * m->sector - (size_t)op->at;
		const size_t to = end < op->size ? end : op->size;
		if (is_kept(m))
			put_bytes(file, op, from, to);
		from = to;
	}
}

/* The size is the old one, the new one, or anything between. */
static void leave_file(struct moment *m, int number, size_t end) {
	struct disk_bytes *const file = &m->files[number];
	const size_t old = file->size;
	size_t size = old;
	for (size_t i = 0; i < end; i++) {
		const struct disk_op *op = &m->tape->ops[i];
		if (!m->pending[i] || !is_change(op, number))
			continue;
		const size_t last = (size_t)op->at + op->size;
		size = op->kind == DISK_RESIZE || last > size ? last : size;
		if (op->kind == DISK_WRITE)
			tear(m, file, op);
	}
	const size_t low = old < size ? old : size;
	const size_t span = old < size ? size - old : old - size;
	switch (draw(m, 3)) {
	case 0:
		resize(file, old);
		break;
	case 1:
		resize(file, size);
		break;
	default:
		resize(file, low + draw(m, (unsigned)(span / m->sector) + 1) * m->sector);
	}
}

/* Names reach the disk in their order, as with a journal; or in any. */
static void leave_names(struct moment *m, size_t end) {
	const bool ordered = draw(m, 2) == 0;
	bool stopped = false;
	for (size_t i = 0; i < end; i++) {
		if (!m->pending[i] || !is_name(&m->tape->ops[i]))
			continue;
		stopped = ordered && (stopped || draw(m, 4) == 0);
		if (ordered ? !stopped : is_kept(m))
			apply_name(m, &m->tape->ops[i]);
	}
	m->made = m->made || (m->may_exist && draw(m, 2) == 0);
}

static void write_files(const struct moment *m, const char *directory) {
	const int at = (int)syscall(SYS_openat, AT_FDCWD, directory, O_RDONLY | O_DIRECTORY, 0);
	require(at >= 0, "no directory");
	for (int i = 0; i < m->entry_count; i++) {
		if (m->entries[i].file < 0)
			continue;
		const struct disk_bytes *const file = &m->files[m->entries[i].file];
		const int fd = (int)syscall(SYS_openat, at, m->entries[i].name,
					    O_WRONLY | O_CREAT | O_EXCL, 0600);
		require(fd >= 0 &&
				syscall(SYS_write, fd, file->bytes, file->size) == (long)file->size,
			"cannot write a file");
		close(fd);
	}
	close(at);
}

static void moment_begin(struct moment *m, const struct tape *tape, struct cut cut) {
	static const unsigned keep[] = {0, 10, 50, 90, 100};
	*m = (struct moment){.tape = tape, .cut = cut, .random = cut.seed * 2654435761u + 1};
	(void)draw(m, 1);
	m->keep = keep[draw(m, sizeof(keep) / sizeof(keep[0]))];
	m->sector = SECTOR[draw(m, SECTORS)];
	m->made = m->may_exist = tape->existed;
	memcpy(m->entries, tape->entries, sizeof(m->entries));
	m->entry_count = tape->entry_count;
	for (int i = 0; i < tape->file_count; i++) {
		resize(&m->files[i], tape->files[i].size);
		if (tape->files[i].size > 0)
			memcpy(m->files[i].bytes, tape->files[i].bytes, tape->files[i].size);
	}
}

void disk_cut(const struct tape *tape, struct cut cut, const char *directory) {
	static struct moment m;
	const size_t end = cut.at < tape->count ? cut.at + 1 : tape->count;
	moment_begin(&m, tape, cut);
	for (size_t i = 0; i < end; i++)
		pass(&m, i);
	for (int i = 0; i < tape->file_count; i++)
		leave_file(&m, i, end);
	leave_names(&m, end);
	if (m.made) {
		require(mkdir(directory, 0700) == 0, "cannot make a directory");
		write_files(&m, directory);
	}
	for (int i = 0; i < tape->file_count; i++)
		free(m.files[i].bytes);
}
