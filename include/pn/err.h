/* Errors of every core: a code that C compares, a condition that Lua compares, a text for people.
 */
#ifndef PN_ERR_H
#define PN_ERR_H

/*
 * X(name, code, condition, text)
 *
 * name       the C constant, PN_<name>; its value is negative, so that 0 and above mean success
 * condition  the token that Lua code compares; where the software that a core replaces has a token
 *            for the case (util.smqueue's "head" and "tail"), the same one
 * text       one line that tells the operator what is wrong
 */
#define PN_ERRORS(X)                                                                               \
	X(ENOMEM, -1, "resource-constraint", "out of memory")                                      \
	X(EINVAL, -2, "internal-server-error", "a value is outside its documented range")          \
	X(ETRUNCATED, -3, "internal-server-error", "the data ends before the value does")          \
	X(EXML, -4, "not-well-formed", "the XML is not well-formed")                               \
	X(ERESTRICTED, -5, "restricted-xml",                                                       \
	  "comments, processing instructions and entities are not allowed in XMPP")                \
	X(ESIZE, -6, "policy-violation", "the XML is longer than the limit")                       \
	X(EDEPTH, -7, "policy-violation", "the XML is nested deeper than the limit")               \
	X(EELEMENTS, -8, "policy-violation", "the XML has more elements than the limit")           \
	X(ETAIL, -9, "tail", "fewer stanzas were acknowledged than had been acknowledged before")  \
	X(EHEAD, -10, "head", "more stanzas were acknowledged than were sent")                     \
	X(ENOTFOUND, -11, "item-not-found", "there is no such item")                               \
	X(EQUOTA, -12, "quota-limit", "the archive holds as many messages as it may")              \
	X(EDATATYPE, -13, "unsupported-datatype", "a value of this type cannot be stored")         \
	X(EFULL, -14, "storage-full",                                                              \
	  "the store has reached storage_native_max_size; raise it or delete something")           \
	X(ENOSPACE, -15, "disk-full", "no space is left on the disk; make room")                   \
	X(EREADONLY, -16, "read-only", "the file system of the store is mounted read-only")        \
	X(EACCESS, -17, "access-denied",                                                           \
	  "the store's directory cannot be used; check that it exists, its owner and its mode")    \
	X(EBUSY, -18, "storage-busy",                                                              \
	  "another process holds the store's lock; see that no tool is stuck")                     \
	X(ECORRUPT, -19, "storage-corrupt", "the store is damaged; restore a backup")              \
	X(EFOREIGN, -20, "storage-foreign", "the file is no store of this program; move it away")  \
	X(EVERSION, -21, "storage-version", "the store was written by a newer version; update")    \
	X(EIO, -22, "io-error", "the disk or the operating system failed; see the system's log")   \
	X(ELOST, -23, "storage-lost", "an earlier failure in the same transaction has undone it")  \
	X(ECERT, -24, "certificate-invalid", "a certificate is missing or cannot be read")         \
	X(ERESOLVER, -25, "resolver-failed",                                                       \
	  "the DNS resolver does not work; check the option unbound, and the files that it names") \
	X(ENOANSWER, -26, "no-answer",                                                             \
	  "the name server does not answer; check that it runs, and that firewalls let DNS pass")  \
	X(EKEY, -27, "key-invalid", "a key is missing or cannot be read")                          \
	X(EOUTDATED, -28, "storage-outdated",                                                      \
	  "the store has an older format, and another process has it open; restart the server")

enum pn_err {
	PN_OK = 0,
#define PN_ERR_ENUM(name, code, condition, text) PN_##name = (code),
	PN_ERRORS(PN_ERR_ENUM)
#undef PN_ERR_ENUM
};

/* The condition token of a code; "internal-server-error" for a code that is none of PN_ERRORS. */
const char *pn_err_condition(int code);

/* The text of a code; "unknown error" for a code that is none of PN_ERRORS. Static storage. */
const char *pn_err_text(int code);

#endif
