# sh get.sh [DIRECTORY]   puts what a browser needs of Converse.js into DIRECTORY; dist beside this file, if none is named
#
# It comes from npm, and is of exactly this version, whatever the registry says.
set -eu

version=14.0.0
sha512=2c5520d37d230da955e3bbc8fefc953ea60f65f2585c56ee6eaf2fd1c1437b6cd735e786124dd4a74163fd64f34fab7ee9da3e700213a32ef77808fb44d0e3d9

here=$(cd "$(dirname "$0")" && pwd)
to=${1:-$here/dist}
command -v npm >/dev/null || { echo "get.sh: npm is needed; Debian has it in the package npm" >&2 && exit 1; }
if [ -n "$(ls -A "$to" 2>/dev/null)" ] && [ ! -e "$to/converse.min.js" ]; then
	echo "get.sh: $to holds something else than Converse.js, and would be replaced: name another directory" >&2
	exit 1
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

(cd "$work" && npm pack --silent "converse.js@$version" >/dev/null </dev/null)
package=$work/converse.js-$version.tgz
echo "$sha512  $package" | sha512sum --check --quiet >&2
tar -C "$work" -xzf "$package"

dist=$work/package/dist
rm -f "$dist"/website.* "$dist/converse.js" "$dist/converse.css"
find "$dist" -name '*.map' -delete
cp "$work/package/COPYRIGHT" "$work/package/LICENSE" "$dist/"
mkdir -p "$(dirname "$to")"
rm -rf "$to.new"
cp -r "$dist" "$to.new"
chmod -R u=rwX,go=rX "$to.new"
rm -rf "$to"
mv "$to.new" "$to"
echo "Converse.js $version is in $to"
