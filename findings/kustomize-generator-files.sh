#!/usr/bin/env bash
# kustomize 5.8.2: the files that a generator's configuration names are looked for in the directory
# of the kustomization that names the generator, and not beside the configuration. That is so even
# when the configuration comes through a directory with a kustomization of its own, whose resources
# are otherwise read from where they lie.
#
# Seen: `app/kustomization.yaml` has `generators: [gen]`, `app/gen/` holds kustomization.yaml, the
# ConfigMapGenerator with `files: [f.txt]`, and a f.txt. The generated ConfigMap has the text of
# `app/f.txt`. Without that file the build fails, though `app/gen/f.txt` is there.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export GOPATH=$work/go GOCACHE=$work/cache GOFLAGS=-modcacherw GOBIN=$work/bin
go install sigs.k8s.io/kustomize/kustomize/v5@v5.8.2

mkdir -p "$work/app/gen"
cd "$work"
echo 'generators: [gen]' > app/kustomization.yaml
echo 'resources: [g.yaml]' > app/gen/kustomization.yaml
printf 'apiVersion: builtin\nkind: ConfigMapGenerator\nmetadata: {name: g}\nfiles: [f.txt]\n' \
  > app/gen/g.yaml
echo beside > app/gen/f.txt

fail() { echo "changed: $*" >&2; exit 1; }
! bin/kustomize build app > out 2> error || fail "f.txt beside the configuration is found: $(cat out)"
grep -q 'f.txt' error || fail "another error: $(cat error)"
echo above > app/f.txt
bin/kustomize build app > out
grep -q above out || fail "$(cat out)"
echo "as described: the file is the one beside the kustomization that names the generator"
