"""Which student of a run is exported: the best one on the validation split, whatever the test split says of it."""


def test_the_best_student_by_validation_is_exported(quick_run):
    results = quick_run.results
    accuracies = [student["validation_accuracy"] for student in results["distilled"]]
    chosen = results["seeds"].index(results["exported_seed"])
    assert len(accuracies) > 1 and accuracies[chosen] == max(accuracies)
