"""Which tests a commit runs, and which wait for the night.

`make test-all` is the commit's: each promise once. `make test-nightly` runs what is left: other
versions and libraries beside ours, each theme and width of a page, hostile data at length, what
needs a machine of its own, and with all of its examples each property and whatever is tried more
often at night (`tests.support.examples`).
"""

from collections import defaultdict
from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Final

# The first pattern that fits a test's id decides whether it waits.
_WAITS: Final = (
    ("tests/interop/test_sdk_versions*[[]sdk-1.25*", False),  # the oldest SDK that we run with
    ("tests/interop/*", True),
    ("tests/services/*", True),
    ("tests/neighbours/*", True),
    ("tests/integrations/*", True),
    ("tests/otel_ml/statistics/test_drift_streams.py*", True),
    ("tests/otel_ml_collector/alerts/test_delivery.py::test_killed_before_it_was_sent", True),
    ("tests/origins/test_frameworks.py*", True),
    ("tests/browser/*[[]*dark*", True),
    ("tests/browser/test_frame.py::test_calls*", False),
    ("tests/browser/test_pages.py*", False),
    ("tests/browser/test_list_walk.py::test_back_finds_the_same_place*", True),
    ("tests/browser/test_list_walk.py*", False),
    ("tests/browser/test_run_page.py::test_slow_span*", True),
    ("tests/browser/test_run_page.py*", False),
    ("tests/browser/test_sign_in.py::test_no_page_tells_of_another_project", True),
    ("tests/browser/test_sign_in.py*", False),
    ("tests/browser/*", True),
    ("tests/hostile/test_thirty.py*", True),
    ("tests/hostile/test_crowd.py::test_six_children_at_once[[]20 times]", True),
    ("tests/otel_ml/versions/test_shapes.py::test_edit_alone*[[]method of a*", False),
    ("tests/otel_ml/versions/test_shapes.py::test_edit_alone*", True),
    ("tests/contract/*[[]embedded]", True),  # the road that all other tests take
    ("tests/contract/test_api.py*", True),  # beside `api/test_schema`, which asks them all embedded
    ("tests/contract/test_end_to_end.py::test_line_is_seen*", True),
    ("tests/contract/test_end_to_end.py::test_same_request_twice*", True),
    ("tests/contract/test_roads.py::test_distinct_ids_under_threads*", True),
    ("tests/contract/test_roads.py::test_restart*", True),
    ("tests/contract/test_server.py::test_two_collectors", True),
    ("tests/deploy/test_clickhouse.py::test_tables_work", True),
    ("tests/deploy/test_sizing.py::test_runs_take_what_the_page_says", True),
    ("tests/end_to_end/test_alert_kills.py*", True),
    ("tests/end_to_end/test_artifacts.py::test_memory", True),
    ("tests/end_to_end/test_artifacts.py::test_kill*", True),
    ("tests/end_to_end/test_artifacts.py::test_restart", True),
    ("tests/end_to_end/test_backup.py::test_kill_during_backup", True),
    ("tests/end_to_end/test_bench_caller.py::test_each_row*", True),
    ("tests/end_to_end/test_bench_full.py*", True),
    ("tests/end_to_end/test_backup.py::test_not_serving", True),
    ("tests/end_to_end/test_backup.py::test_without_checksums", True),
    ("tests/end_to_end/test_deletion_kills.py*", True),
    ("tests/end_to_end/test_counted_once.py::test_killed_between", True),
    ("tests/end_to_end/test_disk_trouble.py::test_disk_trouble*", True),
    ("tests/end_to_end/test_held.py*", True),
    ("tests/end_to_end/test_item_run_kills.py*", True),
    ("tests/end_to_end/test_loss.py::test_killed_collector", True),
    ("tests/end_to_end/test_loss.py::test_killed_process", True),
    ("tests/end_to_end/test_model_entities.py::test_any_order_twice", True),
    ("tests/end_to_end/test_model_entities.py::test_no_collector", True),
    ("tests/end_to_end/test_mutations.py*", True),
    ("tests/end_to_end/test_otlp_drain.py::test_load", True),
    ("tests/end_to_end/test_unreadable.py::*[[]words]", False),
    ("tests/end_to_end/test_unreadable.py::*[[]bytes]", False),
    ("tests/end_to_end/test_unreadable.py*", True),
    ("tests/end_to_end/test_otlp_drain.py::test_slow_client", True),
    ("tests/end_to_end/test_otlp_forward.py::test_killed_target", True),
    ("tests/end_to_end/test_places.py::test_store_that_nobody_serves*", True),
    ("tests/end_to_end/test_records_kills.py*", True),
    ("tests/end_to_end/test_resume.py::test_killed_at_any_moment*", True),
    ("tests/end_to_end/test_spool_kills.py*", True),
    ("tests/end_to_end/test_slow_clients.py::*[[]one_byte_a_second]", True),
    ("tests/origins/test_digitalhub.py::test_loop_of_a_thousand_steps", True),
    ("tests/origins/test_digitalhub.py::test_two_processes_lose_nothing", True),
    ("tests/origins/test_together.py*", True),
    ("tests/otel_ml/experiments/test_evals_peers.py::test_ours", True),  # beside `interop`'s theirs
    ("tests/otel_ml/statistics/test_monitors.py::test_ours*", True),  # likewise
    ("tests/otel_ml/reader/test_paging.py::test_pages_while_others_write", True),
    ("tests/otel_ml/test_multiprocessing.py::test_hanging_collector_costs_two_seconds", True),
    ("tests/otel_ml/test_process_end.py::test_slow_collector_gets_all_at_exit", True),
    ("tests/otel_ml/versions/test_corpus.py*", True),
    ("tests/otel_ml/versions/test_estimators.py::test_all_estimators", True),
    ("tests/otel_ml/versions/test_source.py::test_source_is_found_in_many_threads", True),
    ("tests/otel_ml_collector/api/test_any_request.py*[[]one project]", True),
    ("tests/otel_ml_collector/api/test_any_request.py*[[]wrong]", True),
    ("tests/otel_ml_collector/api/test_live.py::test_bounded", True),
    ("tests/otel_ml_collector/store/test_writer.py::test_merged_repetition", True),
    ("tests/otel_ml_collector/test_retention.py::test_model_metrics", True),
    ("tests/otel_ml_collector/test_retention.py::test_purge", True),
    ("tests/otel_ml_collector/test_retention.py::test_second_run", True),
    ("tests/otel_ml_collector/test_retention.py::test_version_numbers", True),
    ("tests/end_to_end/test_overload.py*", True),  # how much is stored in a second
    ("tests/end_to_end/test_demo.py::test_demo_stays*", True),
    ("tests/otel_ml_collector/query/test_million_points.py*", True),
    ("tests/otel_ml_collector/query/test_lines_of_many_spans.py*", True),
    ("tests/otel_ml_collector/store/test_migrations.py::test_older_store[[]1]", False),
    ("tests/otel_ml_collector/store/test_migrations.py::test_older_store*", True),
    ("tests/otel_ml_collector/store/test_migrations.py::test_repeated_steps", True),
    ("tests/otel_ml_collector/store/test_migrations.py::test_rollup_of_joined_versions", True),
    ("tests/otel_ml_collector/store/test_repair.py::test_reader_meanwhile", True),
    ("tests/otel_ml_collector/store/test_two_writers.py*", True),
    ("tests/otel_ml/test_first_call.py::test_first_call_waits_for_little", True),
    ("tests/otel_ml/test_first_call.py::test_slow_disk_loses_nothing", True),
    ("tests/otel_ml/reader/test_listing.py::test_name_that_is_looked_up_for_long", True),
    ("tests/otel_ml/export/test_upload.py::test_calls_are_not_held_up_by_a_full_queue", True),
    ("tests/otel_ml_collector/assistants/test_protocol.py::test_slow_question", True),
    ("tests/otel_ml_collector/assistants/test_questions.py::test_size", True),
    ("tests/otel_ml_collector/assistants/test_reading.py::test_urls", True),
    ("tests/otel_ml_collector/api/test_live.py::test_resumed", True),
    ("tests/otel_ml_collector/api/test_views.py::test_too_many", True),
    ("tests/otel_ml_collector/cli/test_export.py::test_interrupt_leaves_no_part", True),
    ("tests/contract/test_server.py::test_two_collectors_change_one_data_set", True),
    ("tests/contract/test_end_to_end.py::test_page*", True),
    ("tests/end_to_end/test_disk_trouble.py::test_delete_without_room", True),
    ("tests/end_to_end/test_doctor.py::test_right_key", True),
    ("tests/end_to_end/test_experiments_elsewhere.py::test_under_a_quota", True),
    ("tests/end_to_end/test_experiments_elsewhere.py::test_restored", True),
    ("tests/end_to_end/test_keys_in_use.py::test_exporters", True),
    ("tests/end_to_end/test_otlp_forward.py::test_required", True),
    ("tests/end_to_end/test_places.py::test_backup_from_any_folder", True),
    ("tests/end_to_end/test_places.py::test_data_directory_that_is_named_is_made", True),
    ("tests/end_to_end/test_places.py::test_endpoint_that_is_named_is_all_that_is_meant", True),
    ("tests/end_to_end/test_resume.py::test_what_is_resumed", True),
    ("tests/test_worked_examples.py::test_worked_example*[[]*-old]", True),
    ("tests/end_to_end/test_demo_judge.py::test_before_and_after", True),
    ("tests/otel_ml/experiments/test_rejudged.py::test_memory_is_bounded*", True),
    ("tests/otel_ml_collector/alerts/test_killed_beside.py::test_first_is_killed*", True),
)
# Of a test whose cells all say one sentence a commit tries so many, spread over the whole.
_SAMPLED: Final = {
    "tests/browser/test_frame.py::test_calls_give_what_the_page_shows": 1,
    "tests/contract/test_store.py::test_found": 4,
    "tests/end_to_end/test_assistants_node.py::test_conformance": 2,
    "tests/end_to_end/test_javascript_exporters.py::test_chat_span": 2,
    "tests/end_to_end/test_places.py::test_first_key_closes_the_collector_that_is_meant": 1,
    "tests/end_to_end/test_places.py::test_no_command_makes_a_store": 3,
    "tests/end_to_end/test_places.py::test_unknown_project_names_the_known": 1,
    "tests/end_to_end/test_python_exporters.py::test_batches": 2,
    "tests/end_to_end/test_python_exporters.py::test_chat_span": 2,
    "tests/end_to_end/test_resume.py::test_killed_experiment_goes_on": 1,
    "tests/end_to_end/test_slow_clients.py::test_service_goes_on": 2,
    "tests/hostile/test_hostile.py::test_case": 36,
    "tests/origins/test_raymon_faults.py::test_arrays_come_back": 2,
    "tests/otel_ml/experiments/test_pytest_plugin.py::test_one_test_an_item": 1,
    "tests/otel_ml/experiments/test_pytest_plugin.py::test_wrong_markers": 1,
    "tests/otel_ml/export/test_encoder_caches.py::test_memory_is_bounded": 2,
    "tests/otel_ml/export/test_pipeline.py::test_flush_gives_up_early": 1,
    "tests/otel_ml/judges/test_hanging.py::test_hanging_judges_delay_no_exit": 3,
    "tests/otel_ml/judges/test_pool.py::test_definition_that_fails_once_costs_no_word": 3,
    "tests/otel_ml/statistics/test_coverage.py::test_coverage": 5,
    "tests/otel_ml/statistics/test_drift.py::test_no_change": 4,
    "tests/otel_ml/statistics/test_oracles.py::test_corrections": 2,
    "tests/otel_ml/test_arguments.py::test_values_are_taken_or_refused": 200,
    "tests/otel_ml/test_delivery_of_many.py::test_all_arrive": 1,
    "tests/otel_ml/test_delivery_of_many.py::test_spool_outlives_its_process": 1,
    "tests/otel_ml/test_multiprocessing.py::test_all_jobs_arrive": 3,
    "tests/otel_ml/test_process_end.py::test_exit_without_a_collector_takes_two_seconds": 1,
    "tests/otel_ml/test_sigterm.py::test_hanging_collector_costs_two_seconds": 1,
    "tests/otel_ml/test_values_cost.py::test_cost_ends_at_the_limit": 3,
    "tests/otel_ml/versions/test_shapes.py::test_edits_open_versions": 1,
    "tests/otel_ml_collector/api/test_api.py::test_names": 3,
    "tests/otel_ml_collector/api/test_feedback.py::test_wrong": 4,
    "tests/otel_ml_collector/api/test_jaeger_spans.py::test_another_value_is_not_found": 3,
    "tests/otel_ml_collector/api/test_jaeger_spans.py::test_what_is_shown_is_found": 3,
    "tests/otel_ml_collector/cli/test_datasets.py::test_refused": 5,
    "tests/otel_ml_collector/cli/test_experiments.py::test_compare": 3,
    "tests/otel_ml_collector/cli/test_records.py::test_statuses": 4,
    "tests/otel_ml_collector/alerts/test_killed_looks.py::test_killed_again": 1,
    "tests/otel_ml_collector/alerts/test_killed_looks.py::test_killed_at": 4,
    "tests/otel_ml_collector/assistants/test_questions.py::test_question": 14,
    "tests/otel_ml_collector/cli/test_terminal.py::test_data_does_nothing_to_a_terminal": 2,
    "tests/otel_ml_collector/cli/test_terminal.py::test_table_has_the_width_of_the_terminal": 2,
    "tests/otel_ml_collector/decode/test_compression.py::test_bomb": 3,
    "tests/recorded/test_programs.py::test_program": 6,
    "tests/otel_ml_collector/query/test_log_records.py::test_content_in_filters": 2,
    "tests/otel_ml_collector/query/test_objects.py::test_artifacts_apart": 2,
    "tests/otel_ml_collector/query/test_open_lists.py::test_filter": 5,
    "tests/otel_ml_collector/query/test_open_lists.py::test_order": 3,
    "tests/otel_ml_collector/query/test_orders.py::test_pages": 7,
    "tests/otel_ml_collector/query/test_runs.py::test_pages": 4,
    "tests/otel_ml_collector/query/test_series.py::test_modes": 9,
    "tests/otel_ml_collector/query/test_sessions.py::test_list_filter_page_and_statistics": 1,
    "tests/otel_ml_collector/serve/test_limits.py::test_refused": 3,
    "tests/otel_ml_collector/settings/test_sources.py::test_folder_of_any_name": 2,
    "tests/otel_ml_collector/store/test_artifacts.py::test_sizes": 3,
    "tests/otel_ml_collector/store/test_calls.py::test_what_one_record_alone_tells": 2,
    "tests/otel_ml_collector/store/test_connection.py::test_quoted_folder": 3,
    "tests/otel_ml_collector/store/test_experiments.py::test_deletion": 1,
    "tests/otel_ml_collector/store/test_migrations.py::test_backup_of_an_older_store": 1,
    "tests/otel_ml_collector/store/test_migrations.py::test_killed_migration": 1,
    "tests/otel_ml_collector/store/test_refusals.py::test_disk": 1,
    "tests/otel_ml_collector/store/test_refusals.py::test_poison": 2,
    "tests/otel_ml_collector/store/test_refusals.py::test_refusal": 3,
    "tests/otel_ml_collector/store/test_writer.py::test_refused": 3,
    "tests/otel_ml_collector/test_deletion.py::test_gone": 1,
    "tests/otel_ml_collector/test_deletion.py::test_others_stay": 1,
    "tests/otel_ml_collector/test_experiments.py::test_counted_in_the_store": 1,
    "tests/otel_ml_collector/test_late_records.py::test_newest_tag": 4,
    "tests/otel_ml_collector/test_late_records.py::test_target_by_tag": 1,
    "tests/otel_ml_collector/test_late_records.py::test_target_by_trace_key": 1,
    "tests/otel_ml_collector/test_late_records.py::test_trace_key_of_several_processes": 2,
    "tests/otel_ml_collector/test_late_records.py::test_update": 2,
    "tests/otel_ml_collector/web/test_pages.py::test_all_pages": 2,
}
# Other tests than properties that are tried more often at night.
_HARDER: Final = (
    "tests/end_to_end/test_mutations.py*",
    "tests/end_to_end/test_distinct_ids.py*",
    "tests/end_to_end/test_durability.py::test_kill*",
    "tests/end_to_end/test_item_run_kills.py*",
    "tests/end_to_end/test_open_runs_grow.py::test_very_many_points*",
    "tests/end_to_end/test_deletion_kills.py*",
    "tests/end_to_end/test_artifacts.py::test_kill*",
    "tests/otel_ml/statistics/test_coverage.py::test_coverage*",
    "tests/otel_ml/statistics/test_betting.py::test_windows_between_false_alarms_of_sessions",
    "tests/otel_ml/statistics/test_drift.py*",
    "tests/otel_ml/statistics/test_release.py::test_nothing_changed",
    "tests/otel_ml/versions/test_bounded.py*",
    "tests/otel_ml_collector/api/test_any_request.py*",
    "tests/otel_ml_collector/api/test_bundle.py::test_many_runs",
    "tests/otel_ml_collector/assistants/test_tools.py::test_numbers_are_the_api_s",
)
PATTERNS: Final = (*(pattern for pattern, _ in _WAITS), *_SAMPLED, *_HARDER)


def waiting(tests: Iterable[str]) -> set[str]:
    """Find by their ids those of the tests that commits go without."""
    waits: set[str] = set()
    cells: dict[str, list[str]] = defaultdict(list)
    for test in tests:
        if next((waits for pattern, waits in _WAITS if fnmatchcase(test, pattern)), False):
            waits.add(test)
        else:
            cells[test.partition("[")[0]].append(test)
    for name, sampled in _SAMPLED.items():
        found = cells[name]
        tried = {len(found) * number // sampled for number in range(sampled)}
        waits.update(test for number, test in enumerate(found) if number not in tried)
    return waits


def is_harder_at_night(test: str) -> bool:
    """Tell from a test's id whether the night runs it again, as hard as it can."""
    return any(fnmatchcase(test, pattern) for pattern in _HARDER)
