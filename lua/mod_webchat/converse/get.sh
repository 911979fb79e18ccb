# sh get.sh [DIRECTORY]   installs the files of Converse.js that browsers need into DIRECTORY (default: dist beside this file)
#
# Downloads this version from npm and verifies its checksum. Replaces all of DIRECTORY, which must be new, empty, or created by
# this script.
set -eu

version=14.0.0
sha512=2c5520d37d230da955e3bbc8fefc953ea60f65f2585c56ee6eaf2fd1c1437b6cd735e786124dd4a74163fd64f34fab7ee9da3e700213a32ef77808fb44d0e3d9

fail() { echo "get.sh: $*" >&2 && exit 1; }

here=$(cd "$(dirname "$0")" && pwd)
to=${1:-$here/dist}
while [ "${to%/}" != "$to" ]; do to=${to%/}; done
mark=made-by-get.sh

case ${to##*/} in "" | . | ..) fail "invalid argument: name a directory" ;; esac
[ $# = 0 ] || [ -e "$to/$mark" ] || [ -z "$(ls -A "$to" 2>/dev/null)" ] ||
	fail "refusing to replace $to, which has other files than Converse.js: name another directory"
command -v npm >/dev/null || fail "missing program: npm (on Debian, install the package npm)"
mkdir -p "$(dirname "$to")"
work=$(mktemp -d)
place=$(mktemp -d "$to.XXXXXX") # on the same file system, so that it can be renamed
trap 'rm -rf "$work" "$place"' EXIT

(cd "$work" && npm pack --silent "converse.js@$version" >/dev/null </dev/null)
package=$work/converse.js-$version.tgz
echo "$sha512  $package" | sha512sum --check --quiet >&2
tar -C "$work" -xzf "$package"

dist=$work/package/dist
rm -f "$dist"/website.* "$dist/converse.js" "$dist/converse.css"
find "$dist" -name '*.map' -delete
cp "$work/package/COPYRIGHT" "$work/package/LICENSE" "$dist/"
echo "Converse.js $version. get.sh replaces this directory when it is run again." >"$dist/$mark"
cp -r "$dist" "$place/new"
chmod -R u=rwX,go=rX "$place/new"
[ ! -e "$to" ] || mv "$to" "$place/old"
mv "$place/new" "$to"
echo "Installed Converse.js $version in $to"
