# Sourced by the scripts for a GPU: installs the wheels of the folder WHEELS (.wheels), if there are
# any, for this run only. `python` is the interpreter that they are installed for.
wheels=${WHEELS:-.wheels}
if compgen -G "$wheels/*.whl" >/dev/null; then
	site=$(mktemp -d)
	trap 'rm -rf "$site"' EXIT
	"$python" -m pip install --quiet --disable-pip-version-check --no-index --no-deps --no-compile \
		--target "$site" "$wheels"/*.whl
	export PYTHONPATH="$site${PYTHONPATH:+:$PYTHONPATH}"
fi
