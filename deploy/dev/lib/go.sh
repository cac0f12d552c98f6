# shellcheck shell=bash
# Go, for tools that are compiled from its modules.

# Where there is none that can fetch a newer one.
GO=go1.26.8

golang_packages() {
    has go || echo golang-go
}

# The folder of a module, from what `go mod download -json` says.
module() {
    (cd / && go mod download -json "$1") | sed -n 's/^\t"Dir": "\(.*\)",\{0,1\}$/\1/p'
}

# From 1.21 on Go fetches by itself the Go that a module asks for. For an older one, such as Debian's, it is done here.
need_go() {
    export GOTOOLCHAIN=auto GOFLAGS=
    with_lock go fetch_go
    export PATH=$DEV/go/bin:$PATH
}

fetch_go() {
    [[ ! -e $DEV/go/ready ]] || return 0
    install_missing golang
    [[ $(go env GOVERSION) =~ ^go1\.([0-9]+) ]] || die "go env GOVERSION says nothing"
    ((BASH_REMATCH[1] < 21)) || return 0
    say go "fetching $GO"
    rm -rf "$DEV/go"
    # Read-only and without its executables marked, as every module.
    cp -r --no-preserve=mode "$(module "golang.org/toolchain@v0.0.1-$GO.linux-$(go env GOARCH)")" "$DEV/go"
    chmod +x "$DEV"/go/bin/* "$DEV"/go/pkg/tool/*/*
    touch "$DEV/go/ready"
}
