/* The one mapper of the errors of LMDB and the operating system. */
#include <errno.h>

#include <pn/err.h>

#include "db.h"

int pn_db_error(int rc) {
	switch (rc) {
	case MDB_SUCCESS:
		return PN_OK;
	case ENOMEM:
		return PN_ENOMEM;
	case MDB_MAP_FULL:
	case MDB_TXN_FULL:
		return PN_EFULL;
	case ENOSPC:
	case EDQUOT:
	case EFBIG:
		return PN_ENOSPACE;
	case EROFS:
		return PN_EREADONLY;
	case EACCES:
	case EPERM:
	case ENOENT:
	case ENOTDIR:
		return PN_EACCESS;
	case EBUSY:
	case EAGAIN:
	case MDB_READERS_FULL:
		return PN_EBUSY;
	case MDB_INVALID:
	case MDB_INCOMPATIBLE:
		return PN_EFOREIGN;
	case MDB_VERSION_MISMATCH:
		return PN_EVERSION;
	case MDB_CORRUPTED:
	case MDB_PAGE_NOTFOUND:
	case MDB_PAGE_FULL:
	case MDB_CURSOR_FULL:
	case MDB_PANIC:
		return PN_ECORRUPT;
	default:
		return PN_EIO;
	}
}
