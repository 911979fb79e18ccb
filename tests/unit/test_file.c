/* pn/file.h: files that replace others */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <pn/err.h>
#include <pn/file.h>

#include "test.h"

enum { OTHER_ID = 4321, PATH = 64 };

static const struct pn_file_rights PRIVATE = {(uid_t)-1, (gid_t)-1, 0600};

static struct { char directory[PATH], path[PATH + 8]; } at;

static void setup(void) {
	strcpy(at.directory, "/tmp/pn-file-XXXXXX");
	REQUIRE(mkdtemp(at.directory) != NULL);
	snprintf(at.path, sizeof(at.path), "%s/file", at.directory);
}

static void teardown(void) {
	unlink(at.path);
	CHECK(rmdir(at.directory) == 0); /* nothing else is left in it */
}

static struct pn_str text(const char *bytes) {
	return (struct pn_str){bytes, strlen(bytes)};
}

static bool holds(const char *expected) {
	char found[64] = "";
	const int fd = open(at.path, O_RDONLY);
	const ssize_t len = read(fd, found, sizeof(found) - 1);
	close(fd);
	return len == (ssize_t)strlen(expected) && strcmp(found, expected) == 0;
}

TEST(a_file_is_written_with_its_mode_under_any_umask) {
	struct pn_file_rights rights;
	setup();
	const mode_t before = umask(0777);
	CHECK(pn_file_write(at.path, text("a b\n"), PRIVATE) == PN_OK);
	umask(before);
	CHECK(holds("a b\n"));
	CHECK(pn_file_rights(at.path, &rights) == PN_OK);
	CHECK(rights.mode == 0600 && rights.owner == geteuid() && rights.group == getegid());
	CHECK(pn_file_sync_directory(at.directory) == PN_OK);
	teardown();
}

TEST(existing_files_and_links_are_never_overwritten_or_followed) {
	char target[PATH + 8];
	setup();
	CHECK(pn_file_write(at.path, text("first"), PRIVATE) == PN_OK);
	CHECK(pn_file_write(at.path, text("second"), PRIVATE) == PN_EIO && errno == EEXIST);
	CHECK(holds("first"));
	unlink(at.path);
	snprintf(target, sizeof(target), "%s/none", at.directory);
	REQUIRE(symlink(target, at.path) == 0);
	CHECK(pn_file_write(at.path, text("third"), PRIVATE) == PN_EIO && errno == EEXIST);
	CHECK(access(target, F_OK) != 0);
	teardown();
}

TEST(rights_are_those_of_the_file_that_is_replaced) {
	struct pn_file_rights rights = {geteuid(), getegid(), 0640};
	setup();
	if (geteuid() == 0)
		rights = (struct pn_file_rights){OTHER_ID, OTHER_ID, 0440};
	CHECK(pn_file_write(at.path, text("x"), rights) == PN_OK);
	struct pn_file_rights found;
	CHECK(pn_file_rights(at.path, &found) == PN_OK);
	CHECK(found.owner == rights.owner && found.group == rights.group &&
	      found.mode == rights.mode);
	teardown();
}

/* As a user without permission to change owners. */
TEST(the_group_gets_no_rights_if_the_files_group_cannot_be_set) {
	setup();
	const bool was_root = geteuid() == 0;
	if (was_root)
		REQUIRE(chown(at.directory, OTHER_ID, OTHER_ID) == 0 && setegid(OTHER_ID) == 0 &&
			seteuid(OTHER_ID) == 0);
	const struct pn_file_rights foreign = {0, OTHER_ID + 1, 0664};
	CHECK(pn_file_write(at.path, text("x"), foreign) == PN_OK);
	struct pn_file_rights found;
	CHECK(pn_file_rights(at.path, &found) == PN_OK);
	CHECK(found.owner == geteuid() && found.group == getegid() && found.mode == 0604);
	if (was_root)
		REQUIRE(seteuid(0) == 0 && setegid(0) == 0);
	teardown();
}

TEST(failures_say_why) {
	struct pn_file_rights rights;
	CHECK(pn_file_write("/nonexistent/file", text(""), PRIVATE) == PN_EIO && errno == ENOENT);
	CHECK(pn_file_sync_directory("/nonexistent") == PN_EIO && errno == ENOENT);
	CHECK(pn_file_sync_directory("/etc/passwd") == PN_EIO && errno == ENOTDIR);
	CHECK(pn_file_rights("/nonexistent", &rights) == PN_EIO && errno == ENOENT);
}

int main(void) {
	return test_run("file");
}
