/*
 * The messages of a simulated server: the same ones in every run and for every driver.
 *
 *      one archive     all messages are juliet's, with one of 200 contacts
 *      many users      user0, user1 ...; some have many messages, most have few. Each user writes
 *                      most messages to a few of 200 contacts
 *
 * A second archive, of the user "late", has 2 * late_messages() messages. The clock was wrong when
 * the last one of the first half was stored: it is dated in the future, so that those of the second
 * half are out of order.
 */
#ifndef BENCH_MESSAGES_H
#define BENCH_MESSAGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	NAME_SIZE = 64,
	ID_SIZE = 37,
	XML_SIZE = 4096,
};

struct corpus {
	bool many_users; /* otherwise one archive */
	bool mixed;      /* chats, OMEMO, rooms and markers; otherwise chats of about 357 bytes */
	uint64_t size;   /* messages that the archives are filled with; further ones are appended */
};

struct message {
	char owner[NAME_SIZE];
	char peer[NAME_SIZE]; /* a bare JID */
	char key[ID_SIZE];    /* a UUID that grows with time, as the driver for SQL makes them */
	double when;          /* seconds since 1970 */
	size_t len;
	char xml[XML_SIZE]; /* as tostring() of a Prosody stanza */
};

/* Message number `n`, from 1. Numbers above corpus->size continue the same archives. */
void make_message(const struct corpus *corpus, uint64_t n, struct message *message);

/* Message number `n` of the archive "late", from 1 to 2 * late_messages(). */
void make_late_message(const struct corpus *corpus, uint64_t n, struct message *message);

/* The number of messages that are out of order. */
uint64_t late_messages(const struct corpus *corpus);

unsigned all_users(const struct corpus *corpus);

/* The number of users who have about 200 messages or more, at least 1: pages are read from these.
 */
unsigned busy_users(const struct corpus *corpus);

/* One of them, by any number. */
void busy_user(const struct corpus *corpus, uint64_t n, char owner[NAME_SIZE]);

/* The time of message `n`. */
double sent_at(uint64_t n);

#endif
