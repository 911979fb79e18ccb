/* The messages of a simulated server. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "messages.h"

#define HOST "prosody.test"

enum {
	USERS_MOST = 100000,
	PER_USER = 10, /* messages of a user on average, while there are fewer users */
	CONTACTS = 200,
	BUSY = 200, /* messages of a user from whom pages are read */
	LATE_MOST = 100000,
	FUTURE = 30 * 86400, /* seconds that a wrong clock is ahead */
};

static const double EPOCH = 1500000000, SPACING = 3.25; /* seconds */

static const char *const words[] = {
	"the",     "train",  "is",     "late",    "and",      "walk",     "home",    "from",
	"station", "do",     "not",    "wait",    "for",      "me",       "at",      "eight",
	"we",      "could",  "meet",   "in",      "front",    "of",       "library", "tomorrow",
	"if",      "it",     "rains",  "bring",   "an",       "umbrella", "she",     "said",
	"that",    "nobody", "knows",  "where",   "they",     "went",     "after",   "concert",
	"please",  "call",   "when",   "you",     "have",     "time",     "because", "my",
	"phone",   "was",    "broken", "all",     "week",     "thanks",   "again",   "your",
	"picture", "looks",  "great",  "about",   "dinner",   "on",       "friday",  "maybe",
	"yes",     "sure",   "no",     "problem", "see",      "there",    "good",    "morning",
	"how",     "are",    "things", "with",    "new",      "job",      "still",   "working",
	"server",  "update", "backup", "today",   "really",   "funny",    "video",   "link",
	"someone", "asked",  "why",    "garden",  "children", "school",   "holiday", "ticket",
};

/* splitmix64: a message needs no state of the one before. */
static uint64_t draw(uint64_t *state) {
	uint64_t z = *state += 0x9e3779b97f4a7c15;
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

static unsigned below(uint64_t *state, unsigned limit) {
	return (unsigned)(draw(state) % limit);
}

/* A number below the limit: the smaller, the more often, by a power law. */
static unsigned skewed(uint64_t *state, unsigned limit, int power) {
	const double unit = (double)(draw(state) >> 11) / (double)(1ULL << 53);
	double product = limit;
	for (int i = 0; i < power; i++)
		product *= unit;
	return (unsigned)product;
}

/* ---- Text ---- */

__attribute__((format(printf, 2, 3))) static void add(struct message *message, const char *format,
						      ...) {
	va_list args;
	va_start(args, format);
	const int len =
		vsnprintf(message->xml + message->len, XML_SIZE - message->len, format, args);
	va_end(args);
	message->len += (size_t)len;
}

static void add_words(struct message *message, uint64_t *state, unsigned count) {
	for (unsigned i = 0; i < count; i++)
		add(message, "%s%s", i > 0 ? " " : "",
		    words[below(state, sizeof(words) / sizeof(words[0]))]);
}

static void add_base64(struct message *message, uint64_t *state, unsigned count) {
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	for (unsigned i = 0; i < count; i++)
		message->xml[message->len++] = digits[below(state, 64)];
}

static void make_uuid(uint64_t *state, char id[ID_SIZE]) {
	const uint64_t a = draw(state), b = draw(state);
	snprintf(id, ID_SIZE, "%08x-%04x-4%03x-9%03x-%012llx", (unsigned)(a >> 32),
		 (unsigned)(a >> 16) & 0xffff, (unsigned)a & 0xfff, (unsigned)(b >> 48) & 0xfff,
		 (unsigned long long)(b & 0xffffffffffff));
}

/* RFC 9562, version 7. */
static void make_key(uint64_t *state, double when, char key[ID_SIZE]) {
	const uint64_t ms = (uint64_t)(when * 1000), a = draw(state), b = draw(state);
	snprintf(key, ID_SIZE, "%08x-%04x-7%03x-9%03x-%012llx", (unsigned)(ms >> 16),
		 (unsigned)ms & 0xffff, (unsigned)a & 0xfff, (unsigned)(b >> 48) & 0xfff,
		 (unsigned long long)(b & 0xffffffffffff));
}

/* ---- Kinds of messages ---- */

static void add_start(struct message *message, uint64_t *state, const char *id) {
	add(message, "<message from='%s/phone.%u' to='%s@" HOST "' type='chat' id='%s'>",
	    message->peer, 1000 + below(state, 9000), message->owner, id);
}

static void add_chat(struct message *message, uint64_t *state, const char *id) {
	add_start(message, state, id);
	add(message, "<body>");
	add_words(message, state, 3 + below(state, 14));
	add(message,
	    "</body><origin-id xmlns='urn:xmpp:sid:0' id='%s'/><request xmlns='urn:xmpp:receipts'/>"
	    "<markable xmlns='urn:xmpp:chat-markers:0'/></message>",
	    id);
}

static void add_omemo(struct message *message, uint64_t *state, const char *id) {
	add_start(message, state, id);
	add(message, "<encrypted xmlns='eu.siacs.conversations.axolotl'><header sid='%u'>",
	    below(state, 1U << 31));
	for (unsigned keys = 2 + below(state, 4); keys > 0; keys--) {
		add(message, "<key rid='%u'>", below(state, 1U << 31));
		add_base64(message, state, 110 + below(state, 60));
		add(message, "</key>");
	}
	add(message, "<iv>");
	add_base64(message, state, 16);
	add(message, "</iv></header><payload>");
	add_base64(message, state, 40 + below(state, 120));
	add(message,
	    "</payload></encrypted><encryption xmlns='urn:xmpp:eme:0' name='OMEMO' "
	    "namespace='eu.siacs.conversations.axolotl'/><store xmlns='urn:xmpp:hints'/>"
	    "<origin-id xmlns='urn:xmpp:sid:0' id='%s'/></message>",
	    id);
}

static void add_room(struct message *message, uint64_t *state, const char *id) {
	add(message, "<message from='%s/%s %u' to='%s@" HOST "' type='groupchat' id='%s'><body>",
	    message->peer, words[below(state, 90)], below(state, 100), message->owner, id);
	add_words(message, state, 3 + below(state, 20));
	add(message, "</body><occupant-id xmlns='urn:xmpp:occupant-id:0' id='");
	add_base64(message, state, 44);
	add(message, "'/><origin-id xmlns='urn:xmpp:sid:0' id='%s'/></message>", id);
}

static void add_marker(struct message *message, uint64_t *state, const char *id) {
	char other[ID_SIZE];
	make_uuid(state, other);
	add_start(message, state, id);
	add(message,
	    "<displayed xmlns='urn:xmpp:chat-markers:0' id='%s'/><store xmlns='urn:xmpp:hints'/>"
	    "</message>",
	    other);
}

/* The shares are those of a small public server: half are chats, a fifth are encrypted. */
static void add_mixed(struct message *message, uint64_t *state, const char *id) {
	const unsigned percent = below(state, 100);
	if (percent < 50)
		add_chat(message, state, id);
	else if (percent < 70)
		add_omemo(message, state, id);
	else if (percent < 85)
		add_room(message, state, id);
	else
		add_marker(message, state, id);
}

/* ---- Messages ---- */

double sent_at(uint64_t n) {
	return EPOCH + SPACING * (double)n;
}

unsigned all_users(const struct corpus *corpus) {
	if (!corpus->many_users)
		return 1;
	const uint64_t users = corpus->size / PER_USER;
	return users < USERS_MOST ? (unsigned)users : USERS_MOST;
}

uint64_t late_messages(const struct corpus *corpus) {
	return corpus->size / 10 < LATE_MOST ? corpus->size / 10 : LATE_MOST;
}

/* Of `users`, user k has about size / (2 sqrt(k * users)) messages. */
unsigned busy_users(const struct corpus *corpus) {
	const uint64_t share = corpus->size / (2 * BUSY);
	const uint64_t busy = share * share / all_users(corpus);
	return corpus->many_users && busy > 1 ? (unsigned)busy : 1;
}

void busy_user(const struct corpus *corpus, uint64_t n, char owner[NAME_SIZE]) {
	if (corpus->many_users)
		snprintf(owner, NAME_SIZE, "user%u", (unsigned)(n % busy_users(corpus)));
	else
		snprintf(owner, NAME_SIZE, "juliet");
}

static void complete(const struct corpus *corpus, uint64_t *state, struct message *message) {
	char id[ID_SIZE];
	const unsigned contact =
		corpus->many_users ? skewed(state, CONTACTS, 3) : below(state, CONTACTS);
	snprintf(message->peer, NAME_SIZE, "friend%u@contacts.test", contact);
	make_uuid(state, id);
	make_key(state, message->when, message->key);
	message->len = 0;
	if (corpus->mixed)
		add_mixed(message, state, id);
	else
		add_chat(message, state, id);
}

void make_message(const struct corpus *corpus, uint64_t n, struct message *message) {
	uint64_t state = n * 2;
	message->when = sent_at(n);
	if (corpus->many_users)
		snprintf(message->owner, NAME_SIZE, "user%u", skewed(&state, all_users(corpus), 2));
	else
		snprintf(message->owner, NAME_SIZE, "juliet");
	complete(corpus, &state, message);
}

void make_late_message(const struct corpus *corpus, uint64_t n, struct message *message) {
	uint64_t state = n * 2 + 1;
	message->when = sent_at(n) + (n == late_messages(corpus) ? FUTURE : 0);
	snprintf(message->owner, NAME_SIZE, "late");
	complete(corpus, &state, message);
}
