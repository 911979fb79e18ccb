#include <pn/err.h>

const char *pn_err_condition(int code) {
	switch (code) {
#define PN_ERR_CASE(name, value, condition, text)                                                  \
	case PN_##name:                                                                            \
		return condition;
		PN_ERRORS(PN_ERR_CASE)
#undef PN_ERR_CASE
	default:
		return "internal-server-error";
	}
}

const char *pn_err_text(int code) {
	switch (code) {
#define PN_ERR_CASE(name, value, condition, text)                                                  \
	case PN_##name:                                                                            \
		return text;
		PN_ERRORS(PN_ERR_CASE)
#undef PN_ERR_CASE
	default:
		return "unknown error";
	}
}
