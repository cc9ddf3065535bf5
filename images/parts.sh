# shellcheck shell=bash
# The parts of an image build, each usable by itself. Sourced by build.

# debian_sources [RELEASE]: this machine's apt sources as those of a Debian release (13: trixie), in
# deb822 form. The mirror's address is known to the machine that builds, and to no file of the
# project. Backports and other repositories have no part in the image.
debian_sources() {
  # apt expands $(SITE), not the shell.
  # shellcheck disable=SC2016
  apt-get indextargets --format '$(SITE) $(RELEASE)' 'Created-By: Packages' | sort -u | awk -v release="${1:-trixie}" '
    { suite = "" }
    $2 ~ /^(bookworm|trixie|stable|oldstable)$/ { suite = release; found = 1 }
    $2 ~ /^[a-z]+-updates$/ { suite = release "-updates" }
    $2 ~ /^[a-z]+-security$/ { suite = release "-security" }
    suite != "" {
      print "Types: deb\nURIs: " $1 "\nSuites: " suite "\nComponents: main non-free-firmware"
      print "Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n"
    }
    END { if (!found) { print "no Debian mirror in the apt sources of this machine" > "/dev/stderr"; exit 1 } }'
}

TOOLS=(apt bubblewrap ca-certificates cpio cython3 debian-archive-keyring dosfstools e2fsprogs
  erofs-utils fdisk gcc gpg gpg-agent kmod libc6-dev mkosi mtools openssl python3-cryptography python3-dev
  python3-pefile sbsigntool systemd systemd-boot systemd-boot-efi systemd-boot-tools systemd-container systemd-repart
  systemd-sysv systemd-ukify udev uidmap xz-utils zstd)

# tools_tree DIRECTORY SOURCES: mkosi and all that it calls, made once. Debian 12 has no mkosi
# that knows Debian 13; its Python runs that of Debian 13.
tools_tree() {
  local tree=$1 sources=$2 want
  want=$({ echo "${TOOLS[@]}"; cat "$sources"; } | sha256sum)
  if [ "$(cat "$tree/.made" 2>/dev/null)" = "$want" ]; then
    echo "the tools of an earlier build serve"
    return
  fi
  rm -rf "$tree" "$tree.new"
  local IFS=,
  # What it mounts ends with it, even when it is killed: else who removes the tree removes what is
  # mounted in it.
  unshare --mount --propagation private mmdebstrap --mode=root --variant=apt \
    --include="${TOOLS[*]}" trixie "$tree.new" - < "$sources"
  echo "$want" > "$tree.new/.made"
  mv "$tree.new" "$tree"
}

# within TREE COMMAND...: run a command of the tools tree. What is mounted for it ends with it,
# even when it is killed. The caller's files are seen under /mnt/host.
within() {
  local tree=$1; shift
  # The arguments are the inner shell's.
  # shellcheck disable=SC2016
  unshare --mount --propagation private bash -euc '
    tree=$1; shift
    mkdir -p "$tree/mnt/host"
    mount --rbind / "$tree/mnt/host"
    mount --rbind /dev "$tree/dev"
    mount -t proc proc "$tree/proc"
    mount -t tmpfs tmpfs "$tree/tmp"
    exec chroot "$tree" "$@"' within "$tree" "$@"
}

# strange_keys FILE: what is wrong with it as a list of SSH public keys. Each line by itself: of the
# whole file ssh-keygen looks for one key, and takes a private one, too.
strange_keys() {
  local line number=0 found=
  while IFS= read -r line || [ -n "$line" ]; do
    number=$((number + 1))
    [[ "$line" =~ ^[[:space:]]*(#.*)?$ ]] && continue
    found=1
    ssh-keygen -l -f /dev/stdin <<< "$line" >/dev/null 2>&1 || { echo "line $number is no SSH public key"; return; }
  done < "$1"
  [ -n "$found" ] || echo "there are no SSH public keys in it"
}

# signing_key TOOLS DIRECTORY NAME TITLE: a key and a self-signed certificate, unless they are
# there. A build with other keys makes nodes that take no extension and no kernel of this one.
signing_key() {
  local tools=$1 directory=$2 name=$3 title=$4 public
  if [ -s "$directory/$name.key" ] && [ -s "$directory/$name.crt" ]; then
    # An empty pass phrase: one that is asked for would be waited for.
    public=$(within "$tools" openssl pkey -passin pass: -pubout -in "/mnt/host$directory/$name.key") &&
      [ "$public" = "$(within "$tools" openssl x509 -noout -pubkey -in "/mnt/host$directory/$name.crt")" ] ||
      { echo "$directory/$name.key (no pass phrase may be on it) and $name.crt are no pair"; return 1; }
    return
  fi
  [ ! -e "$directory/$name.key" ] || { echo "$directory/$name.key has no certificate beside it"; return 1; }
  install -d -m 700 "$directory"
  # umask in a subshell: the key is never readable by others, not even for a moment.
  (
    umask 077
    within "$tools" openssl req -new -x509 -newkey rsa:3072 -sha256 -nodes -days 7300 \
      -subj "/CN=$title/" -keyout "/mnt/host$directory/$name.draft" -out "/mnt/host$directory/$name.crt"
  )
  mv "$directory/$name.draft" "$directory/$name.key"
}

# extension TOOLS PACKAGE VERSION KEYS RESULT: edgenode as a signed system extension, with the relay's
# compiled form.
extension() {
  local tools=$1 package=$2 version=$3 keys=$4 result=$5 tree
  tree=$(mktemp -d "$(dirname "$result")/extension.XXXXXX")
  chmod 755 "$tree"
  install -d "$tree/usr/bin" "$tree/usr/lib/edgenode" "$tree/usr/lib/extension-release.d"
  tar -C "$(dirname "$package")" --exclude=__pycache__ --exclude=__compiled__ \
    --exclude=edgenode/lab --exclude=edgenode/flash -cf - edgenode |
    tar -C "$tree/usr/lib/edgenode" --no-same-owner -xf -
  install -m 755 "$(dirname "${BASH_SOURCE[0]}")/launcher" "$tree/usr/bin/edgenode"
  cat > "$tree/usr/lib/extension-release.d/extension-release.edgenode" <<TEXT
ID=debian
VERSION_ID=13
ARCHITECTURE=x86-64
SYSEXT_VERSION_ID=$version
TEXT
  # For Debian 13's Python, which runs it.
  within "$tools" env PYTHONPATH="/mnt/host$tree/usr/lib/edgenode" \
    python3 -B -m edgenode.steering.compile
  find "$tree" -type d -exec chmod 755 {} + -o -type f -exec chmod u=rwX,go=rX {} +
  find "$tree" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
  # By the same Python; unchecked, since nobody can change a source in there.
  within "$tools" python3 -m compileall -q --invalidation-mode unchecked-hash \
    -s "/mnt/host$tree" "/mnt/host$tree/usr/lib/edgenode"
  find "$tree" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
  signed "$tools" "$tree" "$version" "$keys" "$result"
  rm -rf "$tree"
}

# signed TOOLS TREE VERSION KEYS RESULT: a tree as a signed system extension.
signed() {
  local tools=$1 tree=$2 version=$3 keys=$4 result=$5
  within "$tools" env SOURCE_DATE_EPOCH="$SOURCE_DATE_EPOCH" SYSTEMD_REPART_OVERRIDE_FSTYPE=erofs \
    systemd-repart --offline=yes --make-ddi=sysext --copy-source="/mnt/host$tree" \
    --seed="$(identity extension "$version")" \
    --private-key="/mnt/host$keys/extension.key" --certificate="/mnt/host$keys/extension.crt" \
    "/mnt/host$result"
}

# box IMAGE VAGRANTFILE RESULT: a box for Vagrant with libvirt of a raw image. The directory of RESULT
# holds what it is packed from meanwhile.
box() {
  local image=$1 result=$3 size tree
  tree=$(mktemp -d "$(dirname "$result")/box.XXXXXX")
  size=$(stat -c %s "$image")
  qemu-img convert -c -O qcow2 "$image" "$tree/box.img"
  # In whole GiB, which the plugin makes the disk at least.
  printf '{"provider": "libvirt", "format": "qcow2", "virtual_size": %d}\n' $(((size + (1 << 30) - 1) >> 30)) \
    > "$tree/metadata.json"
  install -m 644 "$2" "$tree/Vagrantfile"
  chmod 644 "$tree"/*
  # The disk in it is packed already.
  tar -C "$tree" --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$SOURCE_DATE_EPOCH" \
    -cf "$result" metadata.json Vagrantfile box.img
  rm -rf "$tree"
}

# bill PROGRAM ARTEFACT VERSION EXTENSION: its bill of materials. mkosi's manifest, which lies beside,
# says which packages are in it, down to the version; the extension has none.
bill() {
  local program=$1 artefact=$2 version=$3 extension=$4 manifest
  if [ "$artefact" = "$extension" ]; then
    "$program" "$artefact" --version "$version"
    return
  fi
  manifest=${artefact%.*}.manifest
  [ ! -e "$artefact.manifest" ] || manifest=$artefact.manifest
  "$program" "$artefact" --version "$version" --manifest "$manifest" --contains "$extension"
}

# publish FROM TO: what was built gets its names, and SHA256SUMS tells of it. A sum never stands for
# a file that it is not of, also where this ends in the middle: those of what is replaced go first.
publish() {
  local from=$1 to=$2 file
  touch "$to/SHA256SUMS"
  (cd "$from" && sha256sum -- *) > "$to/.sums"
  awk -v from="$from" '
    NR == FNR { replaced[$2]; next }
    !($2 in replaced)' "$to/.sums" "$to/SHA256SUMS" > "$to/.others"
  # What is not there any more has no sum.
  while read -r sum file; do
    [ ! -e "$to/$file" ] || echo "$sum  $file"
  done < "$to/.others" > "$to/.part"
  cp "$to/.part" "$to/.others"
  mv -f "$to/.part" "$to/SHA256SUMS"
  for file in "$from"/*; do
    # The output may be another file system: no half file gets a whole one's name.
    mv -f "$file" "$to/.part"
    mv -f "$to/.part" "$to/${file##*/}"
  done
  sort -k 2 "$to/.others" "$to/.sums" > "$to/.part"
  sync "$to"
  mv -f "$to/.part" "$to/SHA256SUMS"
  rm -f "$to/.others" "$to/.sums"
}

# identity WHAT VERSION: a UUID from which partitions get theirs, the same for the same version.
identity() {
  printf 'edgenode %s %s' "$1" "$2" | sha256sum |
    sed -E 's/^(.{8})(.{4}).(.{3}).(.{3})(.{12}).*/\1-\2-4\3-8\4-\5/'
}

# seed TREE EXTENSION CERTIFICATE AUTHORIZED_KEYS: what this build adds to the image's files.
seed() {
  local tree=$1 extension=$2 certificate=$3 authorized=$4 unit place
  install -D -m 644 "$certificate" "$tree/usr/lib/verity.d/edgenode.crt"
  install -D -m 644 "$extension" "$tree/var/lib/edgenode/extensions/$(basename "$extension")"
  # One link per process: each is changed by itself when a new version comes.
  for unit in control steering lifeline exec tools; do
    place=$tree/var/lib/edgenode/extensions/$unit
    mkdir -p "$place"
    ln -s "../$(basename "$extension")" "$place/edgenode.raw"
  done
  [ -z "$authorized" ] ||
    install -D -m 644 "$authorized" "$tree/var/etc/ssh/authorized_keys/root"
}
