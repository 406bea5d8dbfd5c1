# Debian's own packages of another release, fetched and only unpacked. Read by compose.sh and engines.sh with `.`; POSIX sh.
#
# By apt over the machine's mirror, with apt's signatures, into a private apt folder. Nothing is installed; no list, cache
# or setting of the machine's apt is touched. Whoever reads this has FETCH_SECONDS, `say` and `give_up`, and holds
# descriptor 9 on the lock of its folder, which no child keeps.

for needed in apt-get apt-cache dpkg dpkg-deb flock timeout; do
    command -v $needed >/dev/null 2>&1 || give_up "$needed is missing"
done

# apt with its own lists, cache and sources. Its helper user may not read the cache of a clone in somebody's home.
# A mirror that lags behind will do: one version is wanted, by name, and its signature is still checked.
private() {
    tool=$1
    shift
    timeout $FETCH_SECONDS "$tool" -q -o Dir::Etc::sourcelist="$work/sources.list" -o Dir::Etc::sourceparts=/dev/null \
        -o Dir::State::lists="$work/lists" -o Dir::Cache="$work" -o Dir::Cache::archives="$work/archives" \
        -o Acquire::Languages=none -o Acquire::Retries=3 -o Acquire::Check-Valid-Until=false -o APT::Sandbox::User= \
        -o APT::Update::Post-Invoke= -o Debug::NoLocking=1 \
        "$@" 9>&-
}

# The mirror that this machine gets Debian itself from.
find_mirror() {
    apt-get indextargets --format '$(ORIGIN) $(COMPONENT) $(SITE) $(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
        awk '$1 == "Debian" && $2 == "main" && $4 !~ /security/ { print $4; found = 1; exit } END { exit !found }' ||
        # Lists were never fetched here: as it is written down.
        cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources 2>/dev/null |
        sed -n 's/#.*//; s/^URIs:[ \t]*//p; s/^deb[ \t]*\(\[[^]]*\]\)\{0,1\}[ \t]*\([^ \t]*\).*/\2/p' |
        awk '/\/debian\/?$/ { print; exit }'
}

# unpack WORK LOG RELEASE PACKAGE BEGINNING [MORE...]: the version of PACKAGE in RELEASE that begins so, and whatever
# version it has of MORE, unpacked into WORK/files.
unpack() {
    work=$1 log=$2 release=$3 package=$4 beginning=$5
    shift 5
    mirror=$(find_mirror)
    [ -n "$mirror" ] || give_up "the machine's apt sources name no Debian mirror"
    rm -rf "$work"
    mkdir -p "$work/lists/partial" "$work/archives/partial" "$work/out"
    keys=/usr/share/keyrings/debian-archive-keyring.gpg
    if [ -r $keys ]; then signed="[signed-by=$keys] "; else signed=; fi
    echo "deb $signed$mirror $release main" >"$work/sources.list"
    private apt-get update >"$log" 2>&1 </dev/null || give_up "apt-get update: $(grep -E '^(E|Err|W)' "$log" | tail -n 1)"
    exact=$(private apt-cache madison "$package" 2>>"$log" | awk -F ' *[|] *' -v v="$beginning" \
        'index($2, v) == 1 { print $2; exit }')
    [ -n "$exact" ] ||
        give_up "Debian $release has another version by now: $(private apt-cache madison "$package" 2>>"$log" | head -n 1)"
    (cd "$work/out" && private apt-get download "$package=$exact" "$@") >>"$log" 2>&1 </dev/null ||
        give_up "apt-get download: $(grep -E '^(E|Err)' "$log" | tail -n 1)"
    for deb in "$work"/out/*.deb; do dpkg-deb -x "$deb" "$work/files"; done
}
