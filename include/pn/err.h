/* Errors of every core: a code for C, a condition for Lua, a text for the operator. */
#ifndef PN_ERR_H
#define PN_ERR_H

/*
 * X(name, code, condition, text)
 *
 * name       the C constant, PN_<name>; its value is negative: 0 and above mean success
 * condition  the token that Lua code compares; the same as in the software that a core replaces,
 *            if that has one (util.smqueue: "head" and "tail")
 * text       one line: what is wrong, and what the operator can do
 */
#define PN_ERRORS(X)                                                                               \
	X(ENOMEM, -1, "resource-constraint", "out of memory")                                      \
	X(EINVAL, -2, "internal-server-error", "value out of range")                               \
	X(ETRUNCATED, -3, "internal-server-error", "unexpected end of data")                       \
	X(EXML, -4, "not-well-formed", "the XML is not well-formed")                               \
	X(ERESTRICTED, -5, "restricted-xml",                                                       \
	  "comments, processing instructions and entities are not allowed in XMPP")                \
	X(ESIZE, -6, "policy-violation", "the XML is longer than the limit")                       \
	X(EDEPTH, -7, "policy-violation", "the XML is nested deeper than the limit")               \
	X(EELEMENTS, -8, "policy-violation", "the XML has more elements than the limit")           \
	X(ETAIL, -9, "tail", "the peer acknowledged fewer stanzas than before")                    \
	X(EHEAD, -10, "head", "the peer acknowledged more stanzas than were sent")                 \
	X(ENOTFOUND, -11, "item-not-found", "item not found")                                      \
	X(EQUOTA, -12, "quota-limit", "the archive has reached its limit of messages")             \
	X(EDATATYPE, -13, "unsupported-datatype", "a value of this type cannot be stored")         \
	X(EFULL, -14, "storage-full",                                                              \
	  "the database has reached storage_native_max_size; raise it, or delete data")            \
	X(ENOSPACE, -15, "disk-full", "no space left on the disk; free some")                      \
	X(EREADONLY, -16, "read-only",                                                             \
	  "the database is on a read-only file system; mount it writable")                         \
	X(EACCESS, -17, "access-denied",                                                           \
	  "cannot access the database; check that its directory exists, its owner and mode")       \
	X(EBUSY, -18, "storage-busy",                                                              \
	  "another process has locked the database; check that none is stuck")                     \
	X(ECORRUPT, -19, "storage-corrupt", "the database is damaged; restore a backup")           \
	X(EFOREIGN, -20, "storage-foreign",                                                        \
	  "data.mdb is not a database of this program; move it away")                              \
	X(EVERSION, -21, "storage-version",                                                        \
	  "the database was written by a newer version; update this one")                          \
	X(EIO, -22, "io-error", "input or output failed; check the disk and the system's log")     \
	X(ELOST, -23, "storage-lost", "undone by an earlier error in the same transaction")        \
	X(ECERT, -24, "certificate-invalid", "a certificate is missing or cannot be read")         \
	X(ERESOLVER, -25, "resolver-failed",                                                       \
	  "the DNS resolver does not work; check the option unbound, and the files that it names") \
	X(ENOANSWER, -26, "no-answer",                                                             \
	  "the name server does not answer; check that it runs, and that firewalls let DNS pass")  \
	X(EKEY, -27, "key-invalid", "a key is missing or cannot be read")                          \
	X(EOUTDATED, -28, "storage-outdated",                                                      \
	  "the store has an older format, and another process has it open; restart the server")    \
	X(ELOG, -29, "storage-log-corrupt",                                                        \
	  "the store's log is damaged; restore a backup, or see the README for a way without it")  \
	X(EDAMAGED, -30, "storage-damaged",                                                        \
	  "the data file is damaged, so nothing is written to it; restore a backup, or export it") \
	X(EHOST, -31, "host-full",                                                                 \
	  "the host has reached storage_native_max_host_size; raise it, or delete data of the "    \
	  "host")

enum pn_err {
	PN_OK = 0,
#define PN_ERR_ENUM(name, code, condition, text) PN_##name = (code),
	PN_ERRORS(PN_ERR_ENUM)
#undef PN_ERR_ENUM
};

/* The condition of a code; "internal-server-error" for an unknown code. Static storage. */
const char *pn_err_condition(int code);

/* The text of a code; "unknown error" for an unknown code. Static storage. */
const char *pn_err_text(int code);

#endif
