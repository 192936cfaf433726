package results

import "embed"

//go:embed schema/*.json
var schemaFiles embed.FS

// Schemas returns the JSON Schemas of what this package writes:
// schema/run.schema.json for manifest.json, schema/report.schema.json for
// summary.json and the JSON report, schema/model.schema.json for model files,
// schema/plots.schema.json for what the pictures of an HTML report are drawn from; and of
// what commands print as JSON: schema/forecast.schema.json for model predict, and for each
// other one that answers a schema that is called as it is.
func Schemas() embed.FS { return schemaFiles }
