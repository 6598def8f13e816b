def test_training_tells_and_resumes(mrnn, dataset, recipe, tmp_path):
    out = tmp_path / "run"
    arguments = ("train", recipe, "--data", dataset, "--out", out)
    code, text, err = mrnn(*arguments)
    assert code == 0
    assert [line[:8] for line in text.splitlines()[:3]] == ["epoch  1", "epoch  2", "epoch  3"]
    assert "10 words, float32. Writing to" in err
    code, _, err = mrnn(*arguments)
    assert (code, err) == (
        1,
        f"mrnn: {out} already holds a model; add --resume to continue its training, "
        "or give another folder to --out\n",
    )
    code, text, _ = mrnn(*arguments, "--resume")
    assert code == 0
    assert len(text.splitlines()) == 1
    code, _, err = mrnn(*arguments, "--resume", "--set", "training.epochs=9")
    assert code == 1
    assert "was started with another recipe or other data (changed: training.epochs); res" in err
    typo = tmp_path / "rnu"
    code, _, err = mrnn(*arguments[:-1], typo, "--resume")
    assert (code, err) == (
        1, f"mrnn: {typo} does not exist, so no run can go on there; leave out --resume\n"
    )  # fmt: skip
    assert not typo.exists()
