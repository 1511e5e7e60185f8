"""`heddle aws`: which operations of AWS services the endpoint serves."""

import json

import click


@click.command(short_help="List the AWS operations that are served.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object: service to operation to true or false.")
@click.option("--markdown", is_flag=True, hidden=True, help="The table of docs/aws-operations.md.")
def aws(as_json: bool, markdown: bool) -> None:
    """List the operations of AWS services, and whether the AWS endpoint serves them."""
    from broker.api.aws.coverage import coverage, markdown_table
    from broker.cli.tables import print_table

    if markdown:
        click.echo(markdown_table())
    elif as_json:
        click.echo(json.dumps(coverage(), indent=2))
    else:
        rows = [
            (service, operation, "yes" if is_served else "no")
            for service, operations in coverage().items()
            for operation, is_served in operations.items()
        ]
        print_table(("Service", "Operation", "Served"), rows)
