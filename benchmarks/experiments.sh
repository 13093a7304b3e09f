#!/usr/bin/env bash
# Nearly every experiment of docs/results.md. What is done is skipped, what was stopped goes on; a day on two CPU cores.
#
#     benchmarks/experiments.sh phantoms            # five seeds: unguided, guided, shortcut, baselines, all explainers
#     benchmarks/experiments.sh bedside             # phantoms whose ill patients are imaged in bed: unguided, guided
#     benchmarks/experiments.sh nih_64 FOLDER       # real radiographs: FOLDER has labels.csv, boxes.csv and images/
#     benchmarks/experiments.sh nih_320 FOLDER
#     benchmarks/experiments.sh tables              # → runs/tables, by attrinet compare, and the tables of docs/results.md
set -euo pipefail
cd "$(dirname "$0")/.."
PATH="$PWD/.venv/bin:$PATH"

RIVALS="guided_backprop gradcam integrated_gradients lime shap gifsplanation random uniform"
WEAKER="gradcam lime shap gifsplanation" # also as the paper set them up
# images a finding that an explainer is judged on which takes hundreds to thousands of predictions a map; others on all
declare -A FEW=([integrated_gradients]=4 [lime]=8 [lime-published]=8 [shap]=4 [gifsplanation-published]=4)
SEEDS=${SEEDS:-0 1 2 3 4}
BENCH_SEEDS=${BENCH_SEEDS:-0 1 2}

prepare() { [ -e "${*: -1}/meta.json" ] || attrinet prepare "${@:1:$#-1}" --out "${*: -1}" --quiet; }
train() { # config, store, seed, run, overrides
    local resume=; [ -e "$4/config.yaml" ] && resume=--resume
    attrinet train "configs/$1.yaml" data.store="$2" run.seed="$3" "${@:5}" --out "$4" --quiet $resume
}
evaluate() { # run, folder in it, options
    [ -e "$1/$2/metrics.json" ] || attrinet evaluate "$1" --out "$1/$2" "${@:3}" --quiet
}
rivals() { # run of a black box, autoencoder: every post-hoc explainer
    for name in $RIVALS; do rival "$1" "$name" "evaluation-$name" "$2"; done
    for name in $WEAKER; do rival "$1" "$name" "evaluation-$name-published" "$2" --as-published; done
}
rival() { # run, explainer, folder in the run, autoencoder, options
    local options=("${@:5}") few=${FEW[${3#evaluation-}]:-${FEW[$2]:-}}
    [ "$2" = gifsplanation ] && options+=(--autoencoder "$4")
    [ -n "$few" ] && options+=(--limit "$few")
    evaluate "$1" "$3" --explainer "$2" "${options[@]}"
}
autoencoder() { [ -e "$2/autoencoder.json" ] || attrinet train-autoencoder "$1" --out "$2" --steps 3000 --quiet; }

phantoms() {
    for k in $SEEDS; do
        local s=runs/phantom_64/seed-$k
        prepare phantom --n 3000 --size 64 --seed "$k" "$s/store"
        train demo "$s/store" "$k" "$s/unguided"
        evaluate "$s/unguided" evaluation
        attrinet global "$s/unguided"
    done
    for k in $BENCH_SEEDS; do
        local s=runs/phantom_64/seed-$k
        train phantom_guided "$s/store" "$k" "$s/guided"
        evaluate "$s/guided" evaluation
        train demo "$s/store" "$k" "$s/unguided_bf16" run.precision=bf16
        evaluate "$s/unguided_bf16" evaluation
        prepare shortcut "$s/store" "$s/shortcut"
        for guided in "" _guided; do
            local run=$s/shortcut${guided:-_unguided}
            train "phantom_shortcut$guided" "$s/shortcut" "$k" "$run"
            evaluate "$run" evaluation
            evaluate "$run" evaluation-clean --store "$s/store"
            attrinet global "$run"
        done
        train resnet_phantom "$s/store" "$k" "$s/resnet"
        train bcos_phantom "$s/store" "$k" "$s/bcos"
        train bcos_phantom "$s/store" "$k" "$s/bcos_guided" guidance.mode=mixed guidance.per_finding=40
        for run in resnet bcos bcos_guided; do evaluate "$s/$run" evaluation; done
        autoencoder "$s/store" "$s/autoencoder"
        rivals "$s/resnet" "$s/autoencoder"
        train demo "$s/store" "$k" "$s/unguided_long" schedule.steps=3000 # what the rivals are compared with
        train phantom_guided "$s/store" "$k" "$s/guided_long" schedule.steps=3000
        train demo "$s/store" "$k" "$s/unguided_difference" schedule.steps=3000 model.output=difference
        train phantom_guided "$s/store" "$k" "$s/guided_difference" schedule.steps=3000 model.output=difference
        for run in {unguided,guided}_{long,difference}; do evaluate "$s/$run" evaluation; done
    done
    local s=runs/phantom_64/seed-0
    train demo $s/store 0 $s/sparse_long schedule.steps=3000 losses.l1=100
    train demo $s/store 0 $s/unguided_10k schedule.steps=10000
    train demo $s/store 0 $s/sparse_10k schedule.steps=10000 losses.l1=100
    for run in sparse_long unguided_10k sparse_10k; do evaluate $s/$run evaluation; done
}

bedside() {
    for k in $BENCH_SEEDS; do
        local s=runs/phantom_64_bedside/seed-$k
        prepare phantom --n 3000 --size 64 --seed "$k" --bedside 1 "$s/store"
        train demo "$s/store" "$k" "$s/unguided"
        train phantom_guided "$s/store" "$k" "$s/guided"
        for run in unguided guided; do evaluate "$s/$run" evaluation; done
    done
}

real() { # 64 or 320, folder
    prepare table --labels "$2/labels.csv" --images "$2/images" --boxes "$2/boxes.csv" --view-column view \
        --fractions 0.6,0.15,0.25 --size "$1" "stores/nih_$1"
}

nih_64() {
    real 64 "$1"
    for k in $BENCH_SEEDS; do
        local s=runs/nih_64/seed-$k
        train nih_64 stores/nih_64 "$k" "$s/unguided"
        evaluate "$s/unguided" evaluation
        evaluate "$s/unguided" evaluation-sick --where Pneumonia=1
        train nih_64_guided stores/nih_64 "$k" "$s/guided"
        train nih_64 stores/nih_64 "$k" "$s/unguided_difference" model.output=difference
        train nih_64_guided stores/nih_64 "$k" "$s/guided_difference" model.output=difference
        for run in guided {unguided,guided}_difference; do evaluate "$s/$run" evaluation; done
        for model in resnet bcos; do
            train "${model}_nih_64" stores/nih_64 "$k" "$s/$model"
            evaluate "$s/$model" evaluation
        done
        autoencoder stores/nih_64 runs/nih_64/autoencoder
        rivals "$s/resnet" runs/nih_64/autoencoder
    done
    attrinet global runs/nih_64/seed-0/unguided
    prepare shortcut stores/nih_64 --finding Effusion stores/nih_64_shortcut
    for guided in "" _guided; do
        local run=runs/nih_64/seed-0/shortcut${guided:-_unguided}
        train "nih_64_shortcut$guided" stores/nih_64_shortcut 0 "$run"
        evaluate "$run" evaluation
        evaluate "$run" evaluation-clean --store stores/nih_64
        attrinet global "$run"
    done
}

nih_320() {
    real 320 "$1"
    train nih_320 stores/nih_320 0 runs/nih_320
    evaluate runs/nih_320 evaluation
}

tables() {
    attrinet compare runs/phantom_64/seed-[012]/{unguided_long,guided_long,resnet,bcos,bcos_guided} \
        --out runs/tables/phantom_64
    python benchmarks/summarise.py bench \
        runs/phantom_64/seed-[012]/{unguided_long,guided_long,bcos,bcos_guided,resnet}
    python benchmarks/summarise.py bench runs/nih_64/seed-[012]/{unguided,guided,bcos,resnet}
    python benchmarks/evidence_scale.py \
        runs/phantom_64/seed-0/{unguided,unguided_long,sparse_long,guided_long,bcos,bcos_guided,resnet:gradcam}
    python benchmarks/evidence_scale.py runs/nih_64/seed-0/{unguided,guided,bcos,resnet:gradcam}
    python benchmarks/summarise.py curves runs/phantom_64/seed-[012]/{unguided,unguided_bf16}
    attrinet compare runs/nih_64/seed-*/{unguided,guided,resnet,bcos} --out runs/tables/nih_64
    python benchmarks/summarise.py shortcut runs/phantom_64/seed-*/shortcut_*guided runs/nih_64/seed-0/shortcut_*guided
    python benchmarks/summarise.py suspicion runs/phantom_64/seed-*/unguided
}

"$@"
