"""Tests of the chart's generated files: verbatim templates, and a table from comments."""

import json

from hack import chart

VALUES = """\
# A remark that documents nothing.
image:
  # -- The image's name.
  repository: trainingjob
  tag: ""  # not documented

# -- Labels.
labels: {}
web:
  probe:
    # -- The port.
    port: 8080
# -- Security.
security:
  drop: [ALL]
"""


def test_braces_in_a_description_are_not_a_template() -> None:
    assert chart.escape('say "{{ .Values }}"') == 'say "{{ "{{" }} .Values }}"'


def test_a_crd_template_has_the_flag_around_it() -> None:
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"},
        "spec": {"description": "uses {{ braces }}"},
    }
    lines = chart.crd_template(definition).splitlines()
    assert lines[1] == "{{- if .Values.crds.enabled }}"
    assert lines[-2:] == ['  description: uses {{ "{{" }} braces }}', "{{- end }}"]


def test_values_are_found_with_their_paths_comments_and_defaults() -> None:
    assert chart.documented_values(VALUES) == [
        chart.Value(("image", "repository"), "The image's name.", "trainingjob"),
        chart.Value(("labels",), "Labels.", {}),
        chart.Value(("web", "probe", "port"), "The port.", 8080),
        chart.Value(("security",), "Security.", {"drop": ["ALL"]}),
    ]


def test_the_table_goes_between_its_marks_and_nothing_else_changes() -> None:
    text = "before\n<!-- values: begin -->\nold\n<!-- values: end -->\nafter\n"
    made = chart.readme(text, chart.documented_values(VALUES))
    assert made.startswith("before\n<!-- values: begin -->\n| value | default | meaning |\n")
    assert "\n| `web.probe.port` | `8080` | The port. |\n" in made
    assert "\n| `security` | see values.yaml | Security. |\n" in made
    assert made.endswith("\n<!-- values: end -->\nafter\n")
    assert "old" not in made


def test_the_schema_takes_its_descriptions_from_the_comments() -> None:
    bare = json.dumps({"properties": {"labels": {"type": "object"}}})
    made = json.loads(chart.schema(bare, [chart.Value(("labels",), "Labels.", {})]))
    assert made == {"properties": {"labels": {"type": "object", "description": "Labels."}}}
