# shellcheck shell=bash
# The tiny Mixture of Experts that the `local` stack serves, made on this machine.

setup_model() {
    step "Tiny model" tiny_model
}

tiny_model() {
    local model="$MOESTRO_CACHE/models/tiny-mixtral" stamp
    python_needed
    stamp="$(sha256 scripts/tiny_model.py)"
    if [ -d "$model" ] && [ "$(cat "$model.stamp" 2>/dev/null)" = "$stamp" ]; then
        return
    fi
    .venv/bin/python scripts/tiny_model.py "$model"
    echo "$stamp" >"$model.stamp"
}
