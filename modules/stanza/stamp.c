/* Times as text. */
#include <stdio.h>
#include <time.h>

#include <pn/err.h>

#include "stamp.h"

int pn_stamp(int64_t seconds, int micros, char text[PN_STAMP_SIZE], struct pn_str *out) {
	const time_t time = (time_t)seconds;
	char fraction[16] = "";
	struct tm tm;
	if (gmtime_r(&time, &tm) == NULL || tm.tm_year < -1900 || tm.tm_year > 9999 - 1900)
		return PN_EINVAL;
	if (micros != PN_STAMP_WHOLE)
		snprintf(fraction, sizeof(fraction), ".%06d", micros);
	const int len =
		snprintf(text, PN_STAMP_SIZE, "%04d-%02d-%02dT%02d:%02d:%02d%sZ", tm.tm_year + 1900,
			 tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, fraction);
	*out = (struct pn_str){text, (size_t)len};
	return PN_OK;
}
