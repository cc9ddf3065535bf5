# shellcheck shell=bash
# The key that signs releases. Sourced by build, operatorkeys and release; needs parts.sh.

# release_key TOOLS DIRECTORY: an OpenPGP key (release.key) and its public half (release.gpg), unless
# they are there. Nodes take updates that it signed, and no others.
release_key() {
  local tools=$1 directory=$2
  if [ -s "$directory/release.key" ] && [ -s "$directory/release.gpg" ]; then return; fi
  [ ! -e "$directory/release.key" ] ||
    { echo "$directory/release.key has no release.gpg beside it: gpg --export makes it"; return 1; }
  install -d -m 700 "$directory"
  # gpg's own directory lies in the tree's /tmp, in memory, and ends with it. The arguments are the
  # inner shell's.
  # shellcheck disable=SC2016
  within "$tools" bash -euc '
    umask 077
    GNUPGHOME=$(mktemp -d)
    export GNUPGHOME
    gpg --batch --quiet --passphrase "" --quick-gen-key "edgenode release" ed25519 sign never
    gpg --batch --quiet --export > "$1/release.gpg"
    gpg --batch --quiet --passphrase "" --pinentry-mode loopback --export-secret-keys > "$1/release.draft"
    gpgconf --kill all' release_key "/mnt/host$directory"
  mv "$directory/release.draft" "$directory/release.key"
}

# release_signature TOOLS DIRECTORY FILE SIGNATURE: a detached one, by release.key. It is verified
# as a node will.
release_signature() {
  local tools=$1 directory=$2 file=$3 signature=$4
  # The arguments are the inner shell's.
  # shellcheck disable=SC2016
  within "$tools" bash -euc '
    umask 077
    GNUPGHOME=$(mktemp -d)
    export GNUPGHOME
    gpg --batch --quiet --import "$1"
    gpg --batch --quiet --yes --pinentry-mode loopback --passphrase "" --output "$3" --detach-sign "$2"
    gpgconf --kill all' release_signature \
    "/mnt/host$directory/release.key" "/mnt/host$file" "/mnt/host$signature"
  chmod 644 "$signature"
  release_verified "$tools" "$directory" "$file" "$signature"
}

# release_verified TOOLS DIRECTORY FILE SIGNATURE
release_verified() {
  within "$1" gpg --homedir /tmp --batch --no-options --no-default-keyring --trust-model=always \
    --no-auto-check-trustdb --keyring "/mnt/host$2/release.gpg" --verify "/mnt/host$4" "/mnt/host$3"
}
